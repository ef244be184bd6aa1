//go:build !failpoint

package process

// failpoint does nothing. Tests build the gateway with the tag failpoint, and then choose
// by NOTED_GATEWAY_FAILPOINT at which of these steps it is killed.
func failpoint(string) {}
