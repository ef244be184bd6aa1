package store

import (
	_ "embed"
	"fmt"

	"github.com/donation-dedupe/noted/server/internal/store/wire"
)

var (
	//go:embed notes.lua
	library string
	//go:embed note.lua
	noteBody string
	//go:embed exists.lua
	existsBody string
	//go:embed settle.lua
	settleBody string
	//go:embed release.lua
	releaseBody string
	//go:embed extend.lua
	extendBody string
	//go:embed list.lua
	listBody string
	//go:embed forget.lua
	forgetBody string
	//go:embed beat.lua
	beatBody string

	noteScript    = newScript("note", noteBody, true)
	existsScript  = newScript("exists", existsBody, false)
	settleScript  = newScript("settle", settleBody, true)
	releaseScript = newScript("release", releaseBody, true)
	extendScript  = newScript("extend", extendBody, true)
	listScript    = newScript("list", listBody, false)
	forgetScript  = newScript("forget", forgetBody, true)
	beatScript    = newScript("beat", beatBody, true)
)

// newScript is a script with the library before it.
func newScript(name, body string, writes bool) *wire.Script {
	return wire.NewScript(name, library+"\n"+body, writes)
}

// refusal turns the words by which a script refuses into errors. It is nil for other
// words.
func refusal(words []string) error {
	switch words[0] {
	case "TOO_EARLY":
		return ErrTooEarly
	case "TOO_LATE":
		return ErrTooLate
	case "RECEIVED_TOO_EARLY":
		return ErrReceivedTooEarly
	case "REQUEST_REUSED":
		return ErrRequestReused
	case "SERIES_FULL":
		return ErrSeriesFull
	case "NOT_FOUND":
		return ErrNotFound
	case "HOLD_LOST":
		return ErrHoldLost
	case "HOLD_RELEASED":
		return ErrHoldReleased
	case "SETTLED_BY_ANOTHER":
		return ErrSettledByAnother
	case "ALREADY_SETTLED":
		return ErrAlreadySettled
	}
	return nil
}

// unexpected is the error of a reply that is no answer.
func unexpected(sc *wire.Script, words []string) error {
	if err := refusal(words); err != nil {
		return err
	}
	return fmt.Errorf("%s.lua replied %q, which this release does not know", sc.Name, words)
}
