//go:build !linux

package server

import (
	"net"
	"time"
)

// setUserTimeout does nothing here; keepalive ends a connection whose peer is gone.
func setUserTimeout(net.Conn, time.Duration) {}
