package redistest

import (
	"context"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Dial connects from a place.
func (p Place) Dial(ctx context.Context, addr string) (conn net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: a thread that has been elsewhere ends with its goroutine
		var namespace *os.File
		if namespace, err = os.Open("/run/netns/" + p.Namespace); err != nil {
			return
		}
		defer namespace.Close()
		if err = unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err == nil {
			conn, err = new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	}()
	<-done
	return conn, err
}
