package redistest

import (
	"errors"
	"io"
	"os/exec"
	"strconv"
)

// Guarded starts a program that ends with us. If a test binary dies without its cleanup
// (a timeout, a SIGKILL), so does the program: a shell holds a pipe to us and kills the
// program when the pipe closes. The channel closes when the program has ended.
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
		// The shell gets a line and ends before the process id can belong to another
		// process.
		io.WriteString(pipe, "\n")
		pipe.Close()
		guard.Wait()
		close(over)
	}()
	return over, nil
}
