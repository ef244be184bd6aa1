// Package completion completes the words of a command line: commands, flags with the
// project's single dash, and the values of flags with few values.
//
// # Design
//
// The library's own scripts need the package bash-completion, write two dashes, and know
// no values. Here the shell's part is a few lines that pass on all words, the last of
// them half typed. The program finds the candidates.
package completion

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"
)

// Word is the hidden command that the shells' scripts call: notectl __complete SHELL
// WORD…
const Word = "__complete"

// Scripts are the scripts for the shells, by the shell's name; %[1]s is the program.
var Scripts = map[string]string{
	"bash": `# bash completion for %[1]s; it needs no package.
_%[1]s() {
	local IFS=$'\n'
	COMPREPLY=($("${COMP_WORDS[0]}" __complete bash "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _%[1]s %[1]s
`,
	"zsh": `#compdef %[1]s
# zsh completion for %[1]s.
_%[1]s() {
	local -a found
	found=("${(@f)$("${words[1]}" __complete zsh "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	if [[ -n "${found[1]}" ]]; then
		_describe '%[1]s' found
	else
		_files
	fi
}
compdef _%[1]s %[1]s
`,
	"fish": `# fish completion for %[1]s.
function __%[1]s_complete
	set -l words (commandline -opc) (commandline -ct)
	$words[1] __complete fish $words[2..-1] 2>/dev/null
end
complete -c %[1]s -a '(__%[1]s_complete)'
`,
}

// Candidate is a possible word at the cursor.
type Candidate struct{ Text, Usage string }

// Print writes candidates in the form that a shell's script reads, a line each.
func Print(shell string, candidates []Candidate) string {
	var b strings.Builder
	for _, c := range candidates {
		switch {
		case shell == "zsh" && c.Usage != "":
			fmt.Fprintf(&b, "%s:%s\n", strings.ReplaceAll(c.Text, ":", `\:`), c.Usage)
		case shell == "fish" && c.Usage != "":
			fmt.Fprintf(&b, "%s\t%s\n", c.Text, c.Usage)
		default:
			b.WriteString(c.Text + "\n")
		}
	}
	return b.String()
}

// Complete finds the words that can replace the last word and begin like it. values are
// the values of flags with few values, by flag name. A flag with other values has no
// candidates, so that the shell offers files.
func Complete(root *cli.Command, words []string, values map[string][]string) []Candidate {
	words, cut := join(words)
	if len(words) == 0 {
		words = []string{""}
	}
	current, before := words[len(words)-1], words[:len(words)-1]
	cmd, flags := root, root.Flags
	var waiting cli.Flag // a flag whose value is the next word
	for _, word := range before {
		if waiting != nil {
			waiting = nil
			continue
		}
		if name, isFlag := strings.CutPrefix(strings.TrimPrefix(word, "-"), "-"); isFlag || strings.HasPrefix(word, "-") {
			if flag := find(flags, name); flag != nil && takesValue(flag) {
				waiting = flag
			}
			continue
		}
		if sub := cmd.Command(word); sub != nil {
			if cmd != root {
				flags = slices.DeleteFunc(slices.Clone(flags), isLocal)
			}
			cmd, flags = sub, append(slices.Clone(sub.Flags), flags...)
		}
	}
	switch {
	case waiting != nil:
		return valuesOf(waiting, values, "", current)
	case strings.HasPrefix(current, "-"):
		if name, value, has := strings.Cut(strings.TrimLeft(current, "-"), "="); has {
			flag := find(flags, name)
			if flag == nil {
				return nil
			}
			prefix := strings.TrimSuffix(current, value)
			if cut { // the shell has split the value off
				prefix = ""
			}
			return valuesOf(flag, values, prefix, prefix+value)
		}
		return flagsLike(flags, strings.TrimLeft(current, "-"))
	}
	return commandsLike(cmd, current)
}

// join rejoins words that bash has cut at "=" and ":". cut tells whether the last word
// was cut.
func join(words []string) (whole []string, cut bool) {
	glue := false
	for _, word := range words {
		last := len(whole) - 1
		if (word == "=" || word == ":" || glue) && last >= 0 {
			whole[last] += word
			glue, cut = word == "=" || word == ":", true
			continue
		}
		whole, glue, cut = append(whole, word), false, false
	}
	return whole, cut
}

func find(flags []cli.Flag, name string) cli.Flag {
	for _, flag := range flags {
		if slices.Contains(flag.Names(), name) {
			return flag
		}
	}
	return nil
}

func takesValue(flag cli.Flag) bool {
	f, ok := flag.(cli.DocGenerationFlag)
	return ok && f.TakesValue()
}

func isLocal(flag cli.Flag) bool {
	f, ok := flag.(interface{ IsLocal() bool })
	return ok && f.IsLocal()
}

func valuesOf(flag cli.Flag, values map[string][]string, prefix, like string) (found []Candidate) {
	for _, value := range values[flag.Names()[0]] {
		if strings.HasPrefix(prefix+value, like) {
			found = append(found, Candidate{Text: prefix + value})
		}
	}
	return found
}

func flagsLike(flags []cli.Flag, like string) (found []Candidate) {
	for _, flag := range flags {
		name := flag.Names()[0]
		if f, ok := flag.(cli.VisibleFlag); ok && !f.IsVisible() || !strings.HasPrefix(name, like) {
			continue
		}
		usage := ""
		if f, ok := flag.(cli.DocGenerationFlag); ok {
			usage = strings.ReplaceAll(f.GetUsage(), "`", "")
		}
		found = append(found, Candidate{"-" + name, usage})
	}
	return append(found, helpLike(like)...)
}

func helpLike(like string) []Candidate {
	if strings.HasPrefix("help", like) {
		return []Candidate{{"-help", "show help"}}
	}
	return nil
}

func commandsLike(cmd *cli.Command, like string) (found []Candidate) {
	for _, sub := range cmd.Commands {
		if !sub.Hidden && strings.HasPrefix(sub.Name, like) {
			found = append(found, Candidate{sub.Name, sub.Usage})
		}
	}
	return found
}
