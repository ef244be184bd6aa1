package redistest_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/redistest"
)

func TestLife(t *testing.T) {
	redis := redistest.Start(t)
	if got := redis.Do("SET a 1"); got != "OK" {
		t.Fatalf("SET = %q, want OK", got)
	}
	if got := redis.Do("CONFIG SET maxmemory-policy noeviction"); got != "OK" {
		t.Fatalf("CONFIG SET = %q, want OK", got)
	}

	redis.Stop()
	redis.Stop()
	if conn, err := net.Dial("tcp", redis.Addr()); err == nil {
		conn.Close()
		t.Fatal("a stopped server still listens")
	}

	redis.Restart()
	if got := redis.Do("EXISTS a"); got != "0" {
		t.Fatalf("EXISTS after a restart without persistence = %q, want 0", got)
	}
	redis.Kill()
	redis.Restart()
}

func TestPersistence(t *testing.T) {
	redis := redistest.Start(t, "--appendonly", "yes")
	redis.Do("SET a 1")
	redis.Kill()
	redis.Restart()
	if got := redis.Do("EXISTS a"); got != "1" {
		t.Fatalf("EXISTS after a crash with an append-only file = %q, want 1", got)
	}
}

func TestPause(t *testing.T) {
	redis := redistest.Start(t)
	redis.Pause()
	conn, err := net.Dial("tcp", redis.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "PING\r\n")
	conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	replies := bufio.NewReader(conn)
	if line, err := replies.ReadString('\n'); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a paused server answered %q, %v", line, err)
	}
	redis.Resume()
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if line, err := replies.ReadString('\n'); line != "+PONG\r\n" {
		t.Fatalf("a resumed server answered %q, %v", line, err)
	}
	redis.Pause() // the cleanup must end a paused server too
}

func TestClock(t *testing.T) {
	redis := redistest.StartWithClock(t)
	ahead := func() time.Duration {
		t.Helper()
		at, err := strconv.ParseInt(redis.Do(`EVAL "return tonumber(redis.call('TIME')[1])" 0`), 10, 64)
		if err != nil {
			t.Fatalf("TIME in a script: %v", err)
		}
		return time.Until(time.Unix(at, 0))
	}
	const hour = time.Hour
	redis.Do("SET a 1 EX 1800")
	for _, want := range []time.Duration{0, -hour, hour} {
		redis.SetClock(want)
		if got := ahead(); (got - want).Abs() > 10*time.Second {
			t.Errorf("set %v ahead, the clock is %v ahead", want, got)
		}
		if got := redis.Do("EXISTS a") == "0"; got != (want == hour) {
			t.Errorf("set %v ahead, a key of half an hour has expired: %v", want, got)
		}
	}
	// A key has expired when the clock is past its end.
	at := time.Now().Add(hour).Truncate(time.Second)
	for offset, want := range map[int64]string{-1: "0", 0: "1", 1: "1"} {
		redis.StopClock(at.Add(-time.Second)) // Valkey does not even keep a key that ends at once
		redis.Do(fmt.Sprintf("SET b 1 PXAT %d", at.UnixMilli()+offset))
		redis.StopClock(at)
		if got := redis.Do("EXISTS b"); got != want {
			t.Errorf("EXISTS of a key that ends %dms after the clock has stopped = %s, want %s", offset, got, want)
		}
	}
}
