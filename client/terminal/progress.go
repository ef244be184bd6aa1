package terminal

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Progress is a bar on standard error; nil, which does nothing, where standard error is no
// terminal.
type Progress struct {
	bar    *progressbar.ProgressBar
	shared bool // answers scroll over the same terminal
}

// NewProgress shows how far a long command is: a bar of bytes, or a count where the size
// is not known (-1).
func NewProgress(stdout, stderr io.Writer, size int64, what string) *Progress {
	if !isTerminal(stderr) {
		return nil
	}
	options := []progressbar.Option{
		progressbar.OptionSetWriter(stderr),
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
	return &Progress{bar: progressbar.NewOptions64(size, options...), shared: isTerminal(stdout)}
}

// The bar's own errors are those of writing to standard error, where they could not be
// reported either.

// Set moves the bar.
func (p *Progress) Set(to int64) {
	if p != nil {
		_ = p.bar.Set64(to)
	}
}

// Hide takes the bar off the line that an answer is about to be written on.
func (p *Progress) Hide() {
	if p != nil && p.shared {
		_ = p.bar.Clear()
	}
}

// Clear takes the bar away for good.
func (p *Progress) Clear() {
	if p != nil {
		_ = p.bar.Clear()
		_ = p.bar.Exit()
	}
}

func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
