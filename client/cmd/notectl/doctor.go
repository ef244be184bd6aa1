package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/cmd/notectl/doctor"
	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/terminal"
)

// exitAdvice is the answer of doctor if it has advice and found no fault.
const exitAdvice = 3

func (a *app) doctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", UsageText: "notectl doctor [options]",
		Usage: "examine one server or several: its state, its faults, and the remedies",
		Description: `It shows the connection and its certificate, the version, the caller's rights, how far
notes reach back, and whether the transaction ids of the channels agree, from up to 2000
notes of -ledger. It needs no right. For a fact that it cannot see, it says where to look.

From a server's admin listener it also shows the store: its persistence, eviction,
replicas, clock, cluster and epoch. For several servers it shows their differences:

    notectl -addr 10.0.0.1:50051,10.0.0.2:50051 doctor \
        -admin http://10.0.0.1:9090,http://10.0.0.2:9090

It notes and changes nothing. To learn the rights it sends three malformed requests, and
the server's log has a line for each denied request. The exit code:

     0   no advice and no fault in all that it could see
     3   it works, and there is advice
     1   a fault: donations are refused, or can be lost or doubled`,
		Flags: []cli.Flag{&cli.StringFlag{
			Name: "admin",
			Usage: "`URL` of the server's -admin-listen; for several servers separated by commas, in the order of " +
				"-addr. Without it, http://127.0.0.1:9090 for a server on 127.0.0.1:50051",
		}},
		Action: a.act(a.doctor),
	}
}

func (a *app) doctor(ctx context.Context, cmd *cli.Command) (int, error) {
	if err := none(cmd); err != nil {
		return 0, err
	}
	addresses := addressesOf(cmd)
	admins := make([]string, len(addresses))
	if given := cmd.String("admin"); given != "" {
		admins = strings.Split(given, ",")
	} else if len(addresses) == 1 && addresses[0] == "127.0.0.1:50051" {
		admins[0] = "http://127.0.0.1:9090"
	}
	if len(admins) != len(addresses) {
		return 0, usageError{
			inCommand{
				fmt.Errorf(
					"-admin names %d listeners, and -addr %d servers: name a listener for each server",
					len(admins),
					len(addresses),
				),
				cmd.FullName(),
			},
		}
	}
	e := doctor.Examination{
		Ledger: cmd.String("ledger"), Timeout: cmd.Duration("timeout"),
		Hint: hintFor, Now: now, Span: cmdline.FormatSpan,
	}
	for i, address := range addresses {
		e.Servers = append(e.Servers, doctor.Server{
			Address: address,
			Admin:   admins[i],
			Dial:    func(options ...grpc.DialOption) (*client.Client, error) { return a.dialOne(cmd, address, options...) },
		})
	}
	out, code := a.printer(cmd), exitFirst
	var failed error
	e.Tell = func(f doctor.Finding) {
		switch f.Level {
		case doctor.Fault:
			code = exitError
		case doctor.Advice:
			if code == exitFirst {
				code = exitAdvice
			}
		case doctor.Well, doctor.Unseen:
		}
		failed = errors.Join(failed, out.finding(f, len(addresses) > 1))
	}
	e.Run(ctx)
	return code, failed
}

// finding writes a finding of the doctor and its remedy.
func (p *printer) finding(f doctor.Finding, several bool) error {
	if p.JSON {
		line, err := json.Marshal(f)
		if err != nil {
			return err
		}
		fmt.Fprintf(p.Out, "%s\n", line)
		return p.Out.Flush()
	}
	level := fmt.Sprintf("%-7s", f.Level)
	switch f.Level {
	case doctor.Well:
		level = p.Paint(text.FgGreen, level)
	case doctor.Fault:
		level = p.Paint(text.FgRed, level)
	case doctor.Advice, doctor.Unseen:
		level = p.Paint(text.FgYellow, level)
	}
	about := f.About
	if several && f.Server != "" {
		about = f.Server + " " + about
	}
	fmt.Fprintf(p.Out, "%s %-11s %s\n", level, about, terminal.Printable(f.Found))
	if f.ToDo != "" {
		fmt.Fprintf(p.Out, "%20s%s\n", "", "to do: "+terminal.Printable(f.ToDo))
	}
	return p.Out.Flush()
}

// addressesOf are the servers of -addr as single addresses.
func addressesOf(cmd *cli.Command) []string {
	target := cmd.String("addr")
	if strings.Contains(target, "://") || strings.HasPrefix(target, "unix") {
		return []string{target} // a name, or the path of a socket, which may have commas
	}
	return strings.Split(target, ",")
}

// dialOne makes a client of one of the servers.
func (a *app) dialOne(cmd *cli.Command, address string, options ...grpc.DialOption) (*client.Client, error) {
	config := client.Config{
		Timeout: cmd.Duration("timeout"), Plaintext: cmd.Bool("plaintext"), DialOptions: options,
	}
	if err := identity(cmd, &config); err != nil {
		return nil, err
	}
	return client.New(address, config)
}

func (a *app) versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", UsageText: "notectl version [-server]",
		Usage: "show the release of notectl, and with -server the server's",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "server", Usage: "also ask each server of -addr; no right is needed"}},
		Action: a.act(func(ctx context.Context, cmd *cli.Command) (int, error) {
			if err := none(cmd); err != nil {
				return 0, err
			}
			cmdline.Version("notectl", []string{"notectl", "version"}, a.stdout)
			if !cmd.Bool("server") {
				return exitFirst, nil
			}
			for _, address := range addressesOf(cmd) {
				version, err := a.serverVersion(ctx, cmd, address)
				if err != nil {
					return 0, err
				}
				fmt.Fprintln(a.stdout, "noted", terminal.Printable(version), "at", address)
			}
			return exitFirst, nil
		}),
	}
}

// serverVersion makes a health call to a server. A server that cannot use its store sends
// its version too.
func (a *app) serverVersion(ctx context.Context, cmd *cli.Command, address string) (string, error) {
	var wire doctor.Wire
	noted, err := a.dialOne(cmd, address, wire.Option())
	if err != nil {
		return "", err
	}
	defer noted.Close()
	if err := noted.Serving(ctx); err != nil && wire.Version() == "" {
		return "", err
	}
	if version := wire.Version(); version != "" {
		return version, nil
	}
	return "of a release that does not send its version", nil
}
