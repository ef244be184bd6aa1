package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/server/internal/backup"
)

// keeping is one run of noted export or noted import.
type keeping struct {
	settings       settings
	ledger         string
	every, partial bool

	stdout, stderr io.Writer
}

// isKeeping tells whether the arguments ask for an export or an import.
func isKeeping(args []string) bool {
	return len(args) > 1 && (args[1] == "export" || args[1] == "import")
}

// keep runs noted export or noted import.
func keep(ctx context.Context, args []string, environ cmdline.Environ, stdout, stderr io.Writer) error {
	k := &keeping{stdout: stdout, stderr: stderr}
	act, manual, own := k.export, exportManual, k.exportFlags()
	if args[1] == "import" {
		act, manual, own = k.imports, importManual, k.importFlags()
	}
	// -ledger has no variable: NOTED_LEDGER is notectl's, and would make an export smaller
	// than its reader thinks.
	flags := append(variables.Settings(nil, own...), variables.Settings(environ.Lookup, k.settings.keepingFlags()...)...)
	return cmdline.Run(ctx, "noted "+args[1], manual+flags.Help(), flags, args[1:], stdout,
		func(ctx context.Context, c *cli.Command) error {
			wrong := slices.Concat(variables.Unknown(environ, (&settings{}).flags(nil)), flags.Mistakes())
			k.every = !c.IsSet("ledger")
			if c.NArg() != 1 {
				wrong = append(wrong, cmdline.Usagef("name one FILE, behind the flags"))
			}
			if k.settings.config.Redis == "" {
				wrong = append(wrong, cmdline.Usagef("there is no store: say where Redis is with -redis redis://host:6379 "+
					"(or %s)", variables.Variable("redis")))
			}
			if len(wrong) > 0 {
				return errors.Join(wrong...)
			}
			config := k.settings.config
			b, err := backup.Open(ctx, backup.Config{
				Redis: config.Redis, RedisMode: config.RedisMode,
				RedisCert: config.RedisCert, RedisKey: config.RedisKey, RedisCA: config.RedisCA,
				Replicas: config.Replicas, ReplicasTimeout: config.ReplicasTimeout,
				Logger: cmdline.NewLogger(stderr, cmdline.TextLog, slog.LevelWarn),
			})
			if err != nil {
				return cmdline.Usagef("%w", err)
			}
			defer b.Close()
			return act(ctx, b, c.Args().First())
		})
}

// keepingFlags are the service's own that say where the store is.
func (s *settings) keepingFlags() []cli.Flag {
	flags := s.storeFlags()
	for _, flag := range s.lossFlags() {
		if slices.Contains([]string{"allow-eviction", "replicas", "replicas-timeout"}, flag.Names()[0]) {
			flags = append(flags, flag)
		}
	}
	return slices.DeleteFunc(flags, func(f cli.Flag) bool { return f.Names()[0] == "dev" })
}

func (k *keeping) exportFlags() []cli.Flag {
	return []cli.Flag{&cli.StringFlag{
		Name: "ledger", Destination: &k.ledger,
		Usage: "`NAME`The only ledger to export; without it every ledger, and empty is a ledger, too.",
	}}
}

func (k *keeping) importFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "ledger", Destination: &k.ledger,
			Usage: "`NAME`The only ledger to import; a file without it is refused. Without -ledger every ledger.",
		},
		&cli.BoolFlag{
			Name: "partial", Destination: &k.partial,
			Usage: "Import what can be read of a file that was cut short or changed.",
		},
	}
}

const exportManual = `noted export writes the notes of the store to FILE, while servers answer.

  noted export -redis redis://127.0.0.1:6379 /var/backups/noted.jsonl

FILE takes the place of an older one only when it is whole; - is standard output. It has a line of JSON for each
series. Each note that was answered before the export began is in it, unless it is forgotten meanwhile; later notes
may be. Its readers see series ids, amounts and transaction ids, so only its owner can read it. Do not move slots of
a cluster meanwhile: a series could be missed.

Exit codes: 0 done, 1 failed or a series could not be read, 2 bad usage.

Flags, each but -ledger with its variable in the environment; the flag wins:

`

const importManual = `noted import brings the notes of an export back into a store, while servers answer.

  noted import -redis redis://127.0.0.1:6379 /var/backups/noted.jsonl

Notes that the store does not have are added, with their donation ids, states, attempts, sightings and lives. Notes
that it has are kept; they get further sightings, the longer life, and the state of the file where that is further:
settled is further than held or open. Importing a file twice changes nothing. The store's epoch stays as it is. A file
that was cut short or changed is refused before anything is imported; see -partial.

Exit codes: 0 done, 1 failed or a series was refused, 2 bad usage.

Flags, each but -ledger and -partial with its variable in the environment; the flag wins:

`

func (k *keeping) only() *string {
	if k.every {
		return nil
	}
	return &k.ledger
}

func (k *keeping) export(ctx context.Context, b *backup.Backup, path string) error {
	if path == "-" {
		done, err := b.Export(ctx, release(), k.only(), k.stdout)
		return k.exported(k.stderr, done, err)
	}
	part := path + ".part"
	file, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	done, err := b.Export(ctx, release(), k.only(), file)
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		_ = os.Remove(part) // it is half an export at best; the next one overwrites it
		return fmt.Errorf("%w; %s is as it was", err, path)
	}
	return k.exported(k.stdout, done, nil)
}

func (k *keeping) exported(to io.Writer, done backup.Exported, err error) error {
	if err != nil {
		return err
	}
	fmt.Fprintf(to, "exported %d series, as of %s\n", done.Series, done.At.UTC().Format(time.RFC3339))
	if len(done.Unread) > 0 {
		return fmt.Errorf("%d series could not be read, and are not in the file: %w", len(done.Unread), some(done.Unread))
	}
	return nil
}

func (k *keeping) imports(ctx context.Context, b *backup.Backup, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("importing: %w", err)
	}
	defer file.Close()
	contents, err := backup.Read(file, nil)
	switch {
	case err != nil:
		return fmt.Errorf("importing %s: %w; nothing was imported", path, err)
	case contents.Damage != nil && !k.partial:
		return fmt.Errorf("importing %s: %w; nothing was imported: take a whole export, or import what can be read with "+
			"-partial", path, contents.Damage)
	case !k.every && contents.Ledgers[k.ledger] == 0:
		return fmt.Errorf("importing %s: it has no series of the ledger %q, and has %s; nothing was imported", path, k.ledger,
			ledgersOf(contents))
	}
	if contents.Damage != nil {
		k.warn("%s is not whole: %v", path, contents.Damage)
	}
	if contents.Unread > 0 {
		k.warn("%d series are missing in %s: the export could not read them", contents.Unread, path)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	done, err := b.Import(ctx, file, k.only(), k.settings.config.AllowEviction)
	fmt.Fprintf(k.stdout, "imported %d series of %s: %d notes added, %d changed\n", done.Series,
		contents.At.UTC().Format(time.RFC3339), done.Added, done.Changed)
	k.told(done)
	if err != nil {
		return fmt.Errorf("%w; what is imported stays, and importing the file again goes on", err)
	}
	if len(done.Refused) > 0 {
		return fmt.Errorf("%d series were refused: %w", len(done.Refused), some(done.Refused))
	}
	return nil
}

// told tells what a person should look at.
func (k *keeping) told(done backup.Imported) {
	if done.Anew > 0 {
		k.warn("%d donations had been noted anew here before the import: where both notes were settled, the donation was "+
			"processed twice", done.Anew)
	}
	for _, of := range []struct {
		notes []backup.Donation
		what  string
	}{
		{done.LeftOut, "was not brought back: it is older than a note of its series that was forgotten by hand here; " +
			"if it was not forgotten by hand itself, note it again"},
		{done.Doubtful, "may have been forgotten by hand where the export was made; if so, forget it here, too"},
		{done.Namesakes, "is now the id of two notes: look at the series"},
	} {
		for i, d := range of.notes {
			if i == mostTold {
				k.warn("and %d more like this", len(of.notes)-mostTold)
				break
			}
			k.warn("donation %s %s (notectl -ledger %q list -series %s)", d.ID, of.what, d.Ledger, d.Series)
		}
	}
}

// mostTold bounds what is said of one kind.
const mostTold = 20

func some(errs []error) error { return errors.Join(errs[:min(len(errs), mostTold)]...) }

func (k *keeping) warn(format string, args ...any) {
	fmt.Fprintf(k.stderr, "noted: "+format+"\n", args...)
}

func ledgersOf(c backup.Contents) string {
	var all []string
	for _, ledger := range slices.Sorted(maps.Keys(c.Ledgers)) {
		all = append(all, fmt.Sprintf("%q", ledger))
	}
	if len(all) == 0 {
		return "none at all"
	}
	return strings.Join(all, ", ")
}

// release is what the header of an export names.
func release() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
