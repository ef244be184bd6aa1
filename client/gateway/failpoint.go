//go:build !failpoint

package gateway

// failpoint does nothing. Tests build the gateway with the tag failpoint, and then choose
// by NOTED_GATEWAY_FAILPOINT at which of these steps it is killed.
func failpoint(string) {}
