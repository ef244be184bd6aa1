package redistest

import (
	"errors"
	"io"
	"os/exec"
	"strconv"
)

// Guarded starts a program that ends with us: a test binary that dies without its cleanup
// (a timeout, a SIGKILL) takes it with it, since a shell holds a pipe to us and kills the
// program when the pipe closes. What it returns is closed when the program has ended.
func Guarded(command *exec.Cmd) (ended <-chan struct{}, err error) {
	if err := command.Start(); err != nil {
		return nil, err
	}
	guard := exec.Command("sh", "-c", `read -r _ || kill -9 "$0"`, strconv.Itoa(command.Process.Pid))
	pipe, err := guard.StdinPipe()
	if err == nil {
		err = guard.Start()
	}
	if err != nil {
		return nil, errors.Join(err, command.Process.Kill(), command.Wait())
	}
	over := make(chan struct{})
	go func() {
		command.Wait()
		// The guard ends by a line, before the process id can be another's.
		io.WriteString(pipe, "\n")
		pipe.Close()
		guard.Wait()
		close(over)
	}()
	return over, nil
}
