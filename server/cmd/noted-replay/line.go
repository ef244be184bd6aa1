package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/donation-dedupe/noted/client/terminal"
)

// The earliest and the latest possible time of a message: PayPal's beginning, and the end
// of the store's times.
var earliest, latest = time.Date(1998, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// A messageLine is a message of an export.
type messageLine struct {
	At      string          `json:"at"`
	Channel string          `json:"channel"`
	Body    json.RawMessage `json:"body"`
	Base64  string          `json:"body_base64"`
}

func parseMessageLine(line []byte) (arrival, []byte, error) {
	var l messageLine
	if err := json.Unmarshal(line, &l); err != nil {
		return arrival{}, nil, fmt.Errorf("it is not a message in JSON: %w", err)
	}
	body, err := l.body()
	if err != nil {
		return arrival{}, nil, err
	}
	if l.At == "" {
		return arrival{}, nil, errors.New(`"at", the time of arrival, is missing`)
	}
	at, err := terminal.ParseTime(l.At)
	if err != nil {
		return arrival{}, nil, fmt.Errorf(`"at": %w`, err)
	}
	if at.Before(earliest) || !at.Before(latest) {
		return arrival{}, nil, fmt.Errorf(`"at" is %s: no message came then`, l.At)
	}
	m := arrival{at: at.UnixNano(), channel: channelOf(body)}
	if l.Channel != "" {
		if m.channel = channelIndex(l.Channel); m.channel < 0 {
			return arrival{}, nil, fmt.Errorf(`"channel" is %q: use ipn or webhook`, l.Channel)
		}
	}
	return m, body, nil
}

func (l messageLine) body() ([]byte, error) {
	switch {
	case l.Body != nil && l.Base64 != "":
		return nil, errors.New(`"body" and "body_base64" are two ways to give the body: use one`)
	case l.Base64 != "":
		body, err := base64.StdEncoding.DecodeString(l.Base64)
		if err != nil {
			return nil, fmt.Errorf(`"body_base64": %w`, err)
		}
		return body, nil
	case l.Body == nil:
		return nil, errors.New(`"body" is missing`)
	case l.Body[0] == '{': // a webhook as JSON, not as a string
		return l.Body, nil
	}
	var body string
	if err := json.Unmarshal(l.Body, &body); err != nil {
		return nil, fmt.Errorf(`"body" is not text: %w`, err)
	}
	return []byte(body), nil
}
