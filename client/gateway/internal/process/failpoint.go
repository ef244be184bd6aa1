//go:build !failpoint

package process

// failpoint does nothing. Tests build the gateway with the tag failpoint, and choose with
// NOTED_GATEWAY_FAILPOINT the step at which it is killed.
func failpoint(string) {}
