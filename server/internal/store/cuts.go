package store

import "github.com/donation-dedupe/noted/server/internal/store/wire"

// Cuts are where the key of a call ends, and each of its arguments, when they are written
// one behind the other. So all of them are one piece of memory.
type cuts struct {
	ends [16]int
	n    int
}

// at cuts behind the text.
func (c *cuts) at(text []byte) {
	c.ends[c.n] = len(text)
	c.n++
}

// call is a call of the script with the parts of the text.
func (c *cuts) call(script *wire.Script, text []byte) *wire.Call {
	all, from := string(text), c.ends[0]
	call := wire.NewCall(script, all[:from])
	for _, to := range c.ends[1:c.n] {
		call.Text(all[from:to])
		from = to
	}
	return call
}
