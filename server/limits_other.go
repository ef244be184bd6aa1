//go:build !linux

package server

import (
	"net"
	"time"
)

// setUserTimeout does nothing here; keepalive ends a connection whose peer is gone.
func setUserTimeout(net.Conn, time.Duration) {}

// mayOpen is how many files and connections the process may have open; 0 where nobody knows.
func mayOpen() uint64 { return 0 }
