package store

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/donation-dedupe/noted/server/internal/store/wire"
)

// library is what the scripts share. Its parts use only the parts before them.
var library = libraryNotes + librarySeries + libraryRules

var (
	//go:embed notes.lua
	libraryNotes string
	//go:embed series.lua
	librarySeries string
	//go:embed rules.lua
	libraryRules string
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
	//go:embed export.lua
	exportBody string
	//go:embed import.lua
	importBody string
	//go:embed beat.lua
	beatBody string

	noteScript    = newScript("note", noteBody, true)
	existsScript  = newScript("exists", existsBody, false)
	settleScript  = newScript("settle", settleBody, true)
	releaseScript = newScript("release", releaseBody, true)
	extendScript  = newScript("extend", extendBody, true)
	listScript    = newScript("list", listBody, false)
	forgetScript  = newScript("forget", forgetBody, true)
	exportScript  = newScript("export", exportBody, false)
	importScript  = newScript("import", importBody, true)
	beatScript    = newScript("beat", beatBody, true)
)

// scripts are those that a server runs: all but export and import.
var scripts = []*wire.Script{
	noteScript, existsScript, settleScript, releaseScript, extendScript, listScript, forgetScript, beatScript,
}

// Scripts are the names of the scripts that a server runs.
func Scripts() (names []string) {
	for _, sc := range scripts {
		names = append(names, sc.Name)
	}
	return names
}

// newScript makes a script of a body and the parts of the library that it uses.
func newScript(name, body string, writes bool) *wire.Script {
	return wire.NewScript(name, Assemble(library, body), writes)
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

// unexpected is the error for a reply that is not an answer.
func unexpected(sc *wire.Script, words []string) error {
	if err := refusal(words); err != nil {
		return err
	}
	return fmt.Errorf("%s.lua replied %q, which this release does not know", sc.Name, words)
}

// Assemble puts the parts of the library that a script uses into its body: each before
// the first statement that uses it, within the branch of that statement. Redis makes a
// function anew in each call that reaches its definition, so a call pays only for the
// parts that it needs. A test in server/soak tells the scripts of two releases apart by
// the result.
func Assemble(library, body string) string {
	var parts []part
	for _, statement := range statements(library, "") {
		if declared := declaration.FindStringSubmatch(statement); declared != nil {
			parts = append(parts, part{declared[1], statement, words(statement)})
		}
	}
	return joined(place(parts, body, ""))
}

// joined joins the pieces of a text that is too long for one line. Lua would join them in
// each call.
func joined(script string) string { return pieces.ReplaceAllString(script, "") }

// A part of the library is a function or a constant.
type part struct {
	name, text string
	uses       []string // words, some of which are names of parts before it
}

// place adds parts to the statements of a branch.
func place(parts []part, branch, indent string) string {
	var script strings.Builder
	for _, statement := range statements(branch, indent) {
		pieces := branches(statement, indent)
		needed := map[string]bool{}
		for i := 0; i < len(pieces); i += 2 {
			for _, word := range words(pieces[i]) {
				needed[word] = true
			}
		}
		for _, p := range slices.Backward(parts) {
			for i := 0; needed[p.name] && i < len(p.uses); i++ {
				needed[p.uses[i]] = true
			}
		}
		var rest []part // statements behind this one, and within it, may need them
		for _, p := range parts {
			if needed[p.name] {
				script.WriteString(p.text)
			} else {
				rest = append(rest, p)
			}
		}
		parts = rest
		for i, piece := range pieces {
			if i%2 == 1 {
				piece = place(parts, piece, indent+"  ")
			}
			script.WriteString(piece)
		}
	}
	return script.String()
}

// statements cuts a text of Lua at the statements that are not within another. Each has
// the comments and empty lines before it.
func statements(text, indent string) (all []string) {
	var before, current strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, indent+"--") || line == "\n" {
			before.WriteString(line)
			continue
		}
		code, within := strings.CutPrefix(line, indent)
		if within && begins.MatchString(code) && !continues.MatchString(code) && current.Len() > 0 {
			all = append(all, current.String())
			current.Reset()
		}
		current.WriteString(before.String() + line)
		before.Reset()
	}
	return append(all, current.String()+before.String())
}

// branches cuts a statement that has branches. The pieces at odd places are the branches,
// those at even places the text around them. Any other statement stays whole.
func branches(statement, indent string) []string {
	if !conditional.MatchString(statement) {
		return []string{statement}
	}
	pieces := []string{""}
	for line := range strings.Lines(statement) {
		code, around := strings.CutPrefix(line, indent)
		around = around && (begins.MatchString(code) || len(pieces) == 1 && strings.HasPrefix(code, "--"))
		if around != (len(pieces)%2 == 1) && line != "\n" {
			pieces = append(pieces, "")
		}
		pieces[len(pieces)-1] += line
	}
	return pieces
}

// words are the names in a text of Lua, without the names of fields.
func words(text string) []string {
	return slices.DeleteFunc(word.FindAllString(comment.ReplaceAllString(text, ""), -1), func(s string) bool {
		return s[0] == '.'
	})
}

var (
	declaration = regexp.MustCompile(`(?m)^local (?:function )?(\w+)`)
	conditional = regexp.MustCompile(`^(?:\s*--.*\n|\n)*\s*if .* then\n`)
	begins      = regexp.MustCompile(`^[a-z]`)
	continues   = regexp.MustCompile(`^(?:end|else|elseif|until)\b`)
	comment     = regexp.MustCompile(`--.*`)
	pieces      = regexp.MustCompile(`'\n\s*\.\. '`)
	word        = regexp.MustCompile(`\.?\b[a-zA-Z_]\w*`)
)
