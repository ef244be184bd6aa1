package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// The first lines of the log have only facts that matter to a person: no field is empty,
// no sentence comes twice, no amount of memory exceeds the machine's, and no advice is
// about something already done.
func TestFirstMinute(t *testing.T) {
	safe := redistest.Start(t, "--appendonly", "yes", "--requirepass", "rightcanary")
	safeURL := "redis://:rightcanary@" + safe.Addr()
	epoch := regexp.MustCompile(`"epoch":"(\w+)"`).FindStringSubmatch(firstMinute(t, "-redis", safeURL))
	if epoch == nil {
		t.Fatal("the log does not have the store's epoch")
	}
	const (
		withEpoch = "start with -epoch"
		withAOF   = "appendonly yes"
	)
	for _, c := range []struct {
		name         string
		args         []string
		says, spares []string
	}{
		{"a trial", []string{"-dev"}, []string{
			`msg=starting `, ` store="in this process"`, `msg=serving listen=127.0.0.1:`, "this is a trial",
		}, []string{withEpoch, withAOF, "settings=", "redis_mode", "clock"}},
		{"a trial with settings", []string{"-dev", "-retention", "60d", "-series-limit", "512"}, []string{
			` settings="-retention=60d"`, // 512 is the default
		}, nil},
		{"snapshots only", []string{
			"-redis", redistest.Start(t, "--save", "3600 1").URL(), "-http-listen", "off",
		}, []string{withAOF, withEpoch, `"persistence":"rdb"`}, []string{"http_listen", "trial", "settings"}},
		{"an append-only file", []string{"-redis", safeURL, "-max-in-flight", "8"}, []string{
			withEpoch, `"persistence":"aof"`, `"store":"redis://` + safe.Addr() + `"`,
			`"settings":"-max-in-flight=8"`,
		}, []string{withAOF, "canary"}},
		{"its epoch is given", []string{"-redis", safeURL, "-epoch", epoch[1]}, []string{
			`"settings":"-epoch=` + epoch[1] + `"`,
		}, []string{withAOF, withEpoch, "canary"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			printed := firstMinute(t, c.args...)
			for _, want := range c.says {
				if n := strings.Count(printed, want); n != 1 {
					t.Errorf("the log says %q %d times, want once", want, n)
				}
			}
			for _, not := range c.spares {
				if strings.Contains(printed, not) {
					t.Errorf("the log says %q, which is of no use here", not)
				}
			}
			wantReadable(t, printed)
			if t.Failed() {
				t.Log(printed)
			}
		})
	}
}

// With a limit of Go's memory, the log does not tell of amounts beyond any machine's
// memory.
func TestFirstMinuteWithAMemoryLimit(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "2GiB")
	printed := firstMinute(t, "-redis", redistest.Start(t).URL())
	if strings.Contains(printed, "memory that callers") {
		t.Errorf("it tells how much callers may take, and need not:\n%s", printed)
	}
	wantReadable(t, printed)
}

// The log has the address of the store, and no part of a password whose characters end
// the host early.
func TestStoreIn(t *testing.T) {
	for url, want := range map[string]string{
		"redis://h:6379":                         "redis://h:6379",
		"rediss://user:secret@h:6379/2?addr=g:1": "rediss://h:6379/2",
		"redis://:12#34@h:6379":                  "",
		"redis://:12/34@h:6379":                  "",
		"redis://u:12?34@h:6379":                 "",
		"redis://u:12%2f34@h:6379":               "redis://h:6379",
		"redis://:se/cret@h":                     "",
		"h:6379":                                 "",
	} {
		if got := storeIn(url); got != want {
			t.Errorf("storeIn(%s) = %q, want %q", url, got, want)
		}
	}
}

// firstMinute is the log of a noted that started, served and was stopped.
func firstMinute(t *testing.T, args ...string) string {
	t.Helper()
	command, addresses, printed := serving(t, args...)
	if addresses["listen"] == "" {
		t.Fatalf("the log does not have the address:\n%s", printed)
	}
	command.Process.Signal(syscall.SIGTERM)
	if err := command.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	return printed.String()
}

// wantReadable checks each line by itself, and that no sentence comes twice.
func wantReadable(t *testing.T, printed string) {
	t.Helper()
	memory := machineMemory(t)
	said := map[string]bool{}
	message := regexp.MustCompile(`msg=("(?:[^"\\]|\\.)*"|\S+)`)
	for line := range strings.Lines(printed) {
		var text string
		if strings.HasPrefix(line, "{") {
			fields := map[string]any{}
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatal(err)
			}
			for key, value := range fields {
				if value == nil || fmt.Sprint(value) == "" {
					t.Errorf("%s is empty in %s", key, line)
				}
			}
			text = fields["msg"].(string)
		} else {
			if empty := regexp.MustCompile(`\w+=(""|\s)`).FindString(line); empty != "" {
				t.Errorf("%s is empty in %s", empty, line)
			}
			text = message.FindString(line)
		}
		for _, sentence := range regexp.MustCompile(`[;:,] `).Split(text, -1) {
			if said[sentence] {
				t.Errorf("the log says %q twice", sentence)
			}
			said[sentence] = true
		}
		for _, size := range regexp.MustCompile(`([\d.]+) ([MG])iB`).FindAllStringSubmatch(line, -1) {
			amount, _ := strconv.ParseFloat(size[1], 64)
			if unit := map[string]float64{"M": 1 << 20, "G": 1 << 30}[size[2]]; amount*unit > memory {
				t.Errorf("%s is more than this machine has, in %s", size[0], line)
			}
		}
	}
}

// machineMemory is the memory of this machine in bytes.
func machineMemory(t *testing.T) float64 {
	t.Helper()
	told, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	total := regexp.MustCompile(`MemTotal: +(\d+) kB`).FindSubmatch(told)
	if total == nil {
		t.Fatalf("no MemTotal in %s", told)
	}
	kib, _ := strconv.ParseFloat(string(total[1]), 64)
	return kib * 1024
}
