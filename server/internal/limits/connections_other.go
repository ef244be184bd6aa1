//go:build !linux

package limits

import (
	"net"
	"time"
)

// setUserTimeout does nothing here; keepalive ends a connection whose peer is gone.
func setUserTimeout(net.Conn, time.Duration) {}
