package main

import (
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress is a bar on stderr; nil, which does nothing, where stderr is no terminal.
type progress struct {
	bar    *progressbar.ProgressBar
	shared bool // answers scroll over the same terminal
}

// progress shows how far a long command is: a bar of bytes, or a count where the size is
// not known (-1).
func (a *app) progress(size int64, what string) *progress {
	if !isTerminal(a.stderr) {
		return nil
	}
	options := []progressbar.Option{
		progressbar.OptionSetWriter(a.stderr),
		progressbar.OptionSetDescription(what),
		progressbar.OptionThrottle(100 * time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetElapsedTime(true),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetWidth(30),
	}
	if size >= 0 {
		options = append(options, progressbar.OptionShowBytes(true), progressbar.OptionShowTotalBytes(true))
	} else {
		options = append(options, progressbar.OptionSpinnerType(14), progressbar.OptionShowCount())
	}
	return &progress{bar: progressbar.NewOptions64(size, options...), shared: isTerminal(a.stdout)}
}

// The bar's own errors are those of writing to stderr, where nobody could be told of
// them.

func (p *progress) set(to int64) {
	if p != nil {
		_ = p.bar.Set64(to)
	}
}

// hide takes the bar off the line that an answer is about to be written on.
func (p *progress) hide() {
	if p != nil && p.shared {
		_ = p.bar.Clear()
	}
}

func (p *progress) clear() {
	if p != nil {
		_ = p.bar.Clear()
		_ = p.bar.Exit()
	}
}

func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
