// Package descriptors knows how many files and connections this process may have open,
// and tells the operator what to do when they run out.
package descriptors

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
)

// besideCallers is about how many descriptors a server uses for anything but callers:
// connections to the store, listeners, files that are read again, and clients of the
// admin listener.
const besideCallers = 200

// Explain adds the remedy to an error of a process that may open no more files. It
// returns other errors unchanged.
func Explain(err error) error {
	if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) {
		return err
	}
	return fmt.Errorf("this process has as many files and connections open as it may, so no new client gets in; "+
		"let it have more than -max-connections and %d (ulimit -n, or LimitNOFILE of systemd), "+
		"or set a lower -max-connections: %w", besideCallers, err)
}

// Left returns an error while the process may open no more files.
func Left() error {
	file, err := os.Open(os.DevNull)
	if err == nil {
		return file.Close()
	}
	if explained := Explain(err); explained != err { //nolint:errorlint // whether it is the same error
		return explained
	}
	return nil // a machine without that file has not run out of descriptors
}

// Warn warns at the start if callers may have more connections than the process can open.
func Warn(maxConnections int, logger *slog.Logger) {
	if may := mayOpen(); may > 0 && may < uint64(maxConnections)+besideCallers {
		logger.Warn("callers may have more connections than this process may open; raise its limit "+
			"(ulimit -n, or LimitNOFILE of systemd), or set a lower -max-connections",
			"may_open", may, "max_connections", maxConnections, "needed_beside", besideCallers)
	}
}
