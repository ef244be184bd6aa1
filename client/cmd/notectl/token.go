package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/donation-dedupe/noted/client"
	"github.com/urfave/cli/v3"
)

// The identity of callers: the tokens and certificates that notectl presents, and the
// tokens that it makes.

// tokenPrefix lets people, and programs that search for leaked secrets, recognise a
// token.
const tokenPrefix = "noted_"

// grantable are the verbs of the server's file of callers.
var grantable = []string{"read", "note", "admin"}

func (a *app) tokenCommand() *cli.Command {
	return &cli.Command{
		Name: "token", UsageText: "notectl token [options] NAME",
		Usage: "make a token for a caller, and the line for the server's -callers file",
		Description: `The token is random and shown only this once: the server's file has only its SHA-256. Give
the caller the token in a file that only the caller can read, for -token-file. Put the line
between the braces of the server's file. The server rereads the file by itself.

The verb read allows exists and list; note allows note, settle, release and extend; admin
allows forget. A gateway needs the verb note in each of its ledgers, and so does every
receiver.

To replace a token, make a new token and add its SHA-256 to the old token's. Remove the old
SHA-256 once the caller presents the new token. This command calls no server.`,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{
				Name:  "verbs",
				Local: true,
				Value: []string{"note"},
				Usage: "`VERBS` to grant, separated by commas: " + strings.Join(grantable, ", "),
			},
			&cli.StringSliceFlag{
				Name:        "ledgers",
				Local:       true,
				HideDefault: true,
				Usage:       "`LEDGERS` to grant, separated by commas, or * for every ledger; -ledger by default",
			},
		},
		Action: a.act(func(_ context.Context, cmd *cli.Command) (int, error) {
			name, err := one(cmd, "the caller's name")
			if err != nil {
				return 0, err
			}
			if !word(name) {
				return 0, usagef("a caller's name is up to 64 characters of ASCII without spaces")
			}
			made := madeToken{name: name, Ledgers: cmd.StringSlice("ledgers"), Verbs: cmd.StringSlice("verbs")}
			if !cmd.IsSet("ledgers") {
				made.Ledgers = []string{cmd.String("ledger")}
			}
			for _, ledger := range made.Ledgers {
				if ledger != "" && !word(ledger) {
					return 0, usagef(
						"%q is not a ledger: a ledger has up to 64 characters of ASCII without spaces",
						ledger,
					)
				}
			}
			for _, verb := range made.Verbs {
				if !slices.Contains(grantable, verb) {
					return 0, usagef("%q is not a verb: use %s", verb, strings.Join(grantable, ", "))
				}
			}
			var secret [32]byte
			rand.Read(secret[:]) // never fails
			token := tokenPrefix + strings.ToLower(
				base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret[:]),
			)
			sum := sha256.Sum256([]byte(token))
			made.SHA256 = []string{hex.EncodeToString(sum[:])}
			return exitFirst, a.printer(cmd).token(token, made)
		}),
	}
}

// madeToken is a line for the server's callers file.
type madeToken struct {
	name    string
	SHA256  []string `json:"token_sha256"`
	Ledgers []string `json:"ledgers"`
	Verbs   []string `json:"verbs"`
}

// word reports whether s is a valid name.
func word(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// identityFlags are notectl's own identity, and the CA of the server.
func (a *app) identityFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name:    "token-file",
			Sources: a.from("NOTED_TOKEN_FILE"),
			Usage:   "`FILE` with the token to present; never in plaintext to another machine",
		},
		&cli.StringFlag{
			Name:    "ca",
			Sources: a.from("NOTED_CA"),
			Usage:   "`FILE` with the CAs for the server's certificate, PEM, instead of the system's; turns TLS on",
		},
		&cli.StringFlag{
			Name:    "cert",
			Sources: a.from("NOTED_CERT"),
			Usage:   "`FILE` with the certificate to present, PEM; needs -key and turns TLS on",
		},
		&cli.StringFlag{Name: "key", Sources: a.from("NOTED_KEY"), Usage: "`FILE` with the key of -cert, PEM"},
	}
}

// identity puts the values of identityFlags into the client's configuration.
func identity(cmd *cli.Command, config *client.Config) error {
	if file := cmd.String("token-file"); file != "" {
		if _, err := readToken(file); err != nil {
			return err
		}
		// The file is read at each call, because an operator may have replaced it.
		config.Token = func(context.Context) (string, error) { return readToken(file) }
	}
	if file := cmd.String("ca"); file != "" {
		var err error
		if config.CA, err = os.ReadFile(file); err != nil {
			return fmt.Errorf("reading -ca: %w", err)
		}
	}
	cert, key := cmd.String("cert"), cmd.String("key")
	if (cert == "") != (key == "") {
		return usagef("-cert and -key belong together, and one is missing")
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return fmt.Errorf("reading -cert and -key: %w", err)
		}
		config.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	}
	return nil
}

func readToken(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading -token-file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		// The error does not show the content, which is secret.
		return "", fmt.Errorf("reading -token-file: %s must have exactly one token", file)
	}
	return token, nil
}
