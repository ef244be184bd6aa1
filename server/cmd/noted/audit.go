package main

import (
	"log/slog"
	"os"
	"sync"

	"github.com/donation-dedupe/noted/client/cmdline"
)

// auditFile is the file of -audit-log.
type auditFile struct {
	path string
	mu   sync.Mutex
	file *os.File
}

func openAudit(path string) (*auditFile, error) {
	a := &auditFile{path: path}
	return a, a.reopen()
}

// reopen continues in the file of that name, which is a new file after a log rotation has
// moved the old file away. If it fails, the old file stays in use.
func (a *auditFile) reopen() error {
	file, err := os.OpenFile(a.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file != nil {
		a.file.Close()
	}
	a.file = file
	return nil
}

// Write is of io.Writer. Each line is one call.
func (a *auditFile) Write(line []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.file.Write(line)
}

func (a *auditFile) logger() *slog.Logger {
	return cmdline.NewLogger(a, cmdline.JSONLog, slog.LevelInfo)
}
