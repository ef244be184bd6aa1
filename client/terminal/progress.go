package terminal

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Progress is a bar on standard error. Without a terminal it is nil, and its methods do
// nothing.
type Progress struct {
	bar    *progressbar.ProgressBar
	shared bool // answers go to the same terminal
}

// NewProgress shows the progress of a long command: a bar of bytes, or a count if the size
// is unknown (-1).
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

// The bar's own errors are failures of standard error, so they cannot be reported there.

// Set moves the bar.
func (p *Progress) Set(to int64) {
	if p != nil {
		_ = p.bar.Set64(to)
	}
}

// Hide removes the bar from the line of the next answer.
func (p *Progress) Hide() {
	if p != nil && p.shared {
		_ = p.bar.Clear()
	}
}

// Clear removes the bar.
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
