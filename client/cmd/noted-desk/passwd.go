package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/desk"
)

// passwd prints the line of a user for the file of -users. It asks for the password on a
// terminal, or else reads a line from standard input: other users could see an argument.
func passwd(args []string, stdin *os.File, stdout, stderr io.Writer) error {
	if len(args) != 2 {
		return cmdline.Usagef("noted-desk passwd needs a name and a role: noted-desk passwd anna clerk")
	}
	role, err := desk.ParseRole(args[1])
	if err != nil {
		return cmdline.Usagef("%w", err)
	}
	password, err := ask(stdin, stderr)
	if err != nil {
		return err
	}
	line, err := desk.UserLine(args[0], role, password)
	if err != nil {
		return cmdline.Usagef("%w", err)
	}
	_, err = fmt.Fprintln(stdout, line)
	return err
}

func ask(stdin *os.File, stderr io.Writer) (string, error) {
	if !term.IsTerminal(int(stdin.Fd())) {
		line, err := bufio.NewReader(stdin).ReadString('\n')
		if err != nil && line == "" {
			return "", cmdline.Usagef("give the password on standard input, in one line")
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	var typed [2]string
	for i, question := range []string{"Password: ", "Once more: "} {
		fmt.Fprint(stderr, question)
		line, err := term.ReadPassword(int(stdin.Fd()))
		fmt.Fprintln(stderr)
		if err != nil {
			return "", fmt.Errorf("reading the password: %w", err)
		}
		typed[i] = string(line)
	}
	if typed[0] != typed[1] {
		return "", cmdline.Usagef("the passwords differ; run it again")
	}
	return typed[0], nil
}
