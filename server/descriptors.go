package server

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// besideCallers is about how many files and connections a server opens that are not callers': those to the store, listeners, files that are read anew, and
// those of who asks the admin listener.
const besideCallers = 200

// withDescriptors says of an error that the process may open nothing more what to do about it, and leaves others as they are.
func withDescriptors(err error) error {
	if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) {
		return err
	}
	return fmt.Errorf("this process has as many files and connections open as it may, so nobody new gets in; let it have more than -max-connections and %d "+
		"(ulimit -n, or LimitNOFILE of systemd), or set a lower -max-connections: %w", besideCallers, err)
}

// descriptorsLeft is an error while the process may open nothing more.
func descriptorsLeft() error {
	file, err := os.Open(os.DevNull)
	if err == nil {
		return file.Close()
	}
	if advised := withDescriptors(err); advised != err {
		return advised
	}
	return nil // a machine without that file has not run out of them
}

// warnOfDescriptors tells before it happens that callers may have more connections than the process can open.
func (s *Server) warnOfDescriptors() {
	if may := mayOpen(); may > 0 && may < uint64(s.config.MaxConnections)+besideCallers {
		s.logger.Warn("callers may have more connections than this process may open; raise its limit (ulimit -n, or LimitNOFILE of systemd), or set a lower -max-connections",
			"may_open", may, "max_connections", s.config.MaxConnections, "needed_beside", besideCallers)
	}
}
