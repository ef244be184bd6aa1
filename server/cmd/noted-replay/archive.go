package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// maxLine is the length of a line with the longest body, escaped or in base64.
const maxLine = 2*maxBody + 1024

// An archive finds the messages of the past. It keeps the place and the time of each
// message, and reads the message again when needed: memory could not hold a million
// bodies.
type archive struct {
	stdin  io.Reader
	paths  []string
	lines  map[int32]*os.File // :: index of a path → the open file, for a file of lines
	copies map[string]string  // :: path of a temporary file → its source, which can be read only once
	size   int64              // of all files, in bytes

	keys    []inbox.Key
	inboxes map[int32]*openInbox // :: index of a path → the inbox, for an inbox
	left    count                // messages of inboxes left out of the replay, by reason
	copied  int                  // repeats of messages of inboxes
	ledgers []string             // the messages' ledgers; "" for messages of files

	arrivals []arrival
	bad      []error // lines without a message
	more     int     // further lines without a message
}

// An arrival is the place and the time of a message.
type arrival struct {
	at      int64 // nanoseconds since 1970
	offset  int64 // in a file of lines; in an inbox the index of the message
	length  int32
	path    int32
	line    int32 // 0 if the whole file is the body
	ledger  int16 // index of archive.ledgers
	channel int8  // index of channels
}

func (m arrival) time() time.Time { return time.Unix(0, m.at) }

// find finds the files and inboxes of the arguments.
func (p *archive) find(ctx context.Context, args []string) error {
	p.lines, p.copies = map[int32]*os.File{}, map[string]string{}
	p.inboxes, p.left = map[int32]*openInbox{}, count{}
	for _, arg := range args {
		if inboxURL.MatchString(arg) {
			if err := p.openInbox(ctx, arg); err != nil {
				return err
			}
			continue
		}
		if arg == "-" {
			if err := p.copy(ctx, p.stdin, arg); err != nil {
				return fmt.Errorf("reading standard input: %w", err)
			}
			continue
		}
		err := filepath.WalkDir(arg, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			hidden := strings.HasPrefix(entry.Name(), ".") && path != arg
			if entry.IsDir() {
				if hidden {
					return fs.SkipDir
				}
				return nil
			}
			info, err := os.Stat(path)
			if err != nil || hidden {
				return err
			}
			if !info.Mode().IsRegular() { // such as <(zcat export.jsonl.gz)
				pipe, err := os.Open(path)
				if err != nil {
					return err
				}
				return errors.Join(p.copy(ctx, pipe, path), pipe.Close())
			}
			p.paths = append(p.paths, path)
			p.size += info.Size()
			return nil
		})
		if err != nil {
			return fmt.Errorf("looking for messages: %w", err)
		}
	}
	return nil
}

// copy copies a source that can be read only once. Errors call it name.
func (p *archive) copy(ctx context.Context, from io.Reader, name string) error {
	file, err := os.CreateTemp("", "noted-replay-*")
	if err != nil {
		return err
	}
	p.copies[file.Name()] = name
	p.paths = append(p.paths, file.Name())
	copied := make(chan error, 1)
	var n int64
	go func() {
		var err error
		n, err = io.Copy(file, from)
		copied <- errors.Join(err, file.Close())
	}()
	select {
	case err = <-copied:
		p.size += n
		return err
	case <-ctx.Done(): // a pipe may stay empty forever
		return ctx.Err()
	}
}

func (p *archive) close() {
	for _, file := range p.lines {
		file.Close()
	}
	for path := range p.copies {
		os.Remove(path)
	}
	for _, box := range p.inboxes {
		box.Close()
	}
}

// read goes once through all files, in the order of the arguments, and calls message for
// each message.
func (p *archive) read(ctx context.Context, message func(index int32, body []byte), progress func(int64)) error {
	reader := bufio.NewReaderSize(nil, maxLine)
	var before int64
	for i := range p.paths {
		sofar := func(read int64) { progress(before + read) }
		var n int64
		var err error
		if box := p.inboxes[int32(i)]; box != nil {
			n, err = p.readInbox(ctx, int32(i), box, message, sofar)
		} else {
			n, err = p.readFile(ctx, int32(i), reader, message, sofar)
		}
		if err != nil {
			return fmt.Errorf("reading messages: %w", err)
		}
		before += n
		progress(before)
	}
	return nil
}

func (p *archive) readFile(
	ctx context.Context,
	path int32,
	reader *bufio.Reader,
	message func(int32, []byte),
	progress func(int64),
) (int64, error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	file, err := os.Open(p.paths[path])
	if err != nil {
		return 0, err
	}
	reader.Reset(file)
	head, err := reader.Peek(maxLine)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, errors.Join(err, file.Close())
	}
	if holdsLines(p.paths[path], head) {
		p.lines[path] = file
		return p.readLines(ctx, path, reader, message, progress)
	}
	info, err := file.Stat()
	if err != nil {
		return 0, errors.Join(err, file.Close())
	}
	m := arrival{
		at:      info.ModTime().UnixNano(),
		length:  int32(min(info.Size(), maxLine)),
		path:    path,
		channel: channelOf(head),
		ledger:  p.ledger(""),
	}
	p.add(m, head, message)
	return info.Size(), file.Close()
}

// holdsLines reports whether a file has a message on each line. Otherwise it is one body.
func holdsLines(path string, head []byte) bool {
	switch filepath.Ext(path) {
	case ".jsonl", ".ndjson":
		return true
	}
	first, _, _ := bytes.Cut(bytes.TrimSpace(head), []byte("\n"))
	var l messageLine
	return json.Unmarshal(first, &l) == nil && (l.Body != nil || l.Base64 != "")
}

// channelOf guesses from the content: a webhook is a JSON object, and no IPN begins with
// a brace.
func channelOf(body []byte) int8 {
	if bytes.HasPrefix(bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))), []byte("{")) {
		return channelIndex("webhook")
	}
	return channelIndex("ipn")
}

func channelIndex(name string) int8 {
	for i, channel := range channels {
		if channel.name == name {
			return int8(i)
		}
	}
	return -1
}

func (p *archive) readLines(
	ctx context.Context,
	path int32,
	reader *bufio.Reader,
	message func(int32, []byte),
	progress func(int64),
) (int64, error) {
	var offset int64
	for number := int32(1); ; number++ {
		line, err := reader.ReadSlice('\n')
		length := int64(len(line))
		tooLong := false
		for errors.Is(err, bufio.ErrBufferFull) {
			tooLong = true
			line, err = reader.ReadSlice('\n')
			length += int64(len(line))
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return offset, err
		}
		switch {
		case tooLong:
			p.trouble(arrival{path: path, line: number}, fmt.Errorf("it is longer than %d bytes", maxLine))
		case len(bytes.TrimSpace(line)) > 0:
			m, body, wrong := parseMessageLine(line)
			if wrong != nil {
				p.trouble(arrival{path: path, line: number}, wrong)
				break
			}
			m.offset, m.length, m.path, m.line = offset, int32(len(line)), path, number
			m.ledger = p.ledger("")
			p.add(m, body, message)
		}
		offset += length
		if number%256 == 0 {
			progress(offset)
			if ctx.Err() != nil {
				return offset, ctx.Err()
			}
		}
		if err == io.EOF {
			return offset, nil
		}
	}
}

func (p *archive) add(m arrival, body []byte, message func(int32, []byte)) {
	p.arrivals = append(p.arrivals, m)
	message(int32(len(p.arrivals)-1), body)
}

// trouble keeps the error of a line, or of an unreadable body, for the end of the
// answers. It keeps only the first few errors.
func (p *archive) trouble(m arrival, err error) {
	if len(p.bad) == 20 {
		p.more++
		return
	}
	p.bad = append(p.bad, fmt.Errorf("reading %s: %w", p.place(m), err))
}

// place names the file and the line of a message, or its row in an inbox.
func (p *archive) place(m arrival) string {
	path := p.paths[m.path]
	if name, copied := p.copies[path]; copied {
		path = name
	}
	if box := p.inboxes[m.path]; box != nil {
		return path + " " + box.messages[m.offset].Row
	}
	if m.line == 0 {
		return path
	}
	return fmt.Sprintf("%s:%d", path, m.line)
}

// body reads a message again. Several goroutines may call it.
func (p *archive) body(index int32) ([]byte, error) {
	m := p.arrivals[index]
	body, err := p.readAgain(m)
	if err != nil {
		return nil, fmt.Errorf("reading %s again: %w", p.place(m), err)
	}
	return body, nil
}

func (p *archive) readAgain(m arrival) ([]byte, error) {
	if box := p.inboxes[m.path]; box != nil {
		return box.Body(box.messages[m.offset].Row)
	}
	if m.line == 0 {
		file, err := os.Open(p.paths[m.path])
		if err != nil {
			return nil, err
		}
		defer file.Close()
		return io.ReadAll(io.LimitReader(file, maxLine))
	}
	line := make([]byte, m.length)
	if _, err := p.lines[m.path].ReadAt(line, m.offset); err != nil {
		return nil, err
	}
	_, body, err := parseMessageLine(line)
	return body, err
}
