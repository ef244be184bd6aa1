package descriptors

import "golang.org/x/sys/unix"

// mayOpen is how many descriptors the process may have open; 0 if that is unknown.
func mayOpen() uint64 {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return limit.Cur
}
