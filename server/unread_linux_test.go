package server_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// askForPages asks for full pages, one after the other, and reads none. If one is
// refused, it says why.
func (p *rogue) askForPages(n uint32) (refused string) {
	request, err := proto.Marshal(&notedv1.ListDonationsRequest{PageSize: 1000})
	if err != nil {
		p.t.Fatal(err)
	}
	p.method = notedv1.DedupeService_ListDonations_FullMethodName
	for stream := uint32(1); stream < 2*n; stream += 2 {
		p.call(stream)
		p.data(stream, 0, uint32(len(request)), request)
		if refused = p.begun(stream); refused != "" {
			break
		}
	}
	return refused
}

// begun reads until an answer begins. If none does, it returns how the stream ended.
func (p *rogue) begun(stream uint32) string {
	for {
		frame, err := p.framer.ReadFrame()
		if err != nil {
			return err.Error()
		}
		f, ok := frame.(*http2.HeadersFrame)
		if !ok || f.StreamID != stream {
			continue
		}
		fields, err := p.read.DecodeFull(f.HeaderBlockFragment())
		if err != nil {
			return err.Error()
		}
		for _, field := range fields {
			if field.Name == "grpc-status" {
				return "grpc-status " + field.Value
			}
		}
		return ""
	}
}

// Pages that a peer asks for and does not read, while it answers pings, take no more
// memory than their length.
func TestUnreadPages(t *testing.T) {
	const pages = 100
	s := startConfigured(t, func(*server.Config) {})
	fill(t, s, 60, 16)
	held := s.watched(t, func() {
		p := rogueAt(t, s.Addr(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		p.conn.SetDeadline(time.Now().Add(2 * time.Minute))
		if refused := p.askForPages(pages); refused != "" {
			t.Error(refused)
		}
	})
	if least, most := uint64(pages*256<<10), uint64(pages*320<<10); held < least*9/10 || held > most {
		t.Errorf("%d unread pages take %d KiB, want %d to %d", pages, held>>10, least>>10, most>>10)
	}
}

// Unread pages end with their connection, when it has become old.
func TestUnreadPageGrowsOld(t *testing.T) {
	s := startConfigured(t, func(c *server.Config) { c.Age(3*time.Second, time.Second) })
	p := rogueAt(t, s.Addr(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	if refused := p.askForPages(1); refused != "" {
		t.Fatal(refused)
	}
	for end := ""; end != "closed"; end = p.ended(0) {
		if end == "nothing" {
			t.Fatal("the connection has become old and is still open")
		}
	}
	eventually(t, 10*time.Second, "nothing of it is left", func() bool { return s.metric(t, "noted_connections") == 0 })
}

// Streams with unread answers hold the requests' contents, not the long messages in which
// they came.
func TestUnreadStreams(t *testing.T) {
	const streams, batch = 8, 128
	redis := redistest.Start(t)
	s := startConfigured(t, func(c *server.Config) { c.Redis = redis.URL() })
	fill(t, s, 1, 16) // answers are as long as they can be
	long := series("I-0")
	long.Message = &notedv1.Message{Channel: "webhook", Id: strings.Repeat("w", 128)}
	unknown := protowire.AppendTag(nil, 1000, protowire.BytesType) // as a newer client may
	long.ProtoReflect().SetUnknown(protowire.AppendBytes(unknown, make([]byte, 30<<10)))
	conn, err := grpc.NewClient(
		s.Addr(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(64<<10), // small, since the client's memory is in this process too
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := notedv1.NewDedupeServiceClient(conn)
	var sent atomic.Int64
	held := s.watched(t, func() {
		// While the store pauses, each stream asks it for its first request, and its queue
		// fills. So the batches after that are full.
		redis.Pause()
		defer redis.Resume()
		for range streams {
			stream, err := c.NoteDonations(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for stream.Send(&notedv1.NoteDonationsRequest{Request: long}) == nil {
					sent.Add(1)
				}
			}()
		}
		eventually(
			t,
			10*time.Second,
			"the queues are full",
			func() bool { return sent.Load() >= streams*(1+batch) },
		)
		redis.Resume()
		// Wait until no further request is taken: a busy machine may pause for seconds.
		for before, still := int64(-1), 0; still < 4; time.Sleep(2 * time.Second) {
			if still++; sent.Load() != before {
				before, still = sent.Load(), 0
			}
		}
	})
	t.Logf("%d requests were taken, and a stream holds %d KiB", sent.Load(), held/streams>>10)
	// A stream keeps up to two batches whose answers are not taken, and a queue of one more.
	if sent.Load() < streams*2*batch {
		t.Errorf("%d requests were taken from %d streams, want many, or the test proves nothing", sent.Load(), streams)
	}
	if each := held / streams; each > 3*mib {
		t.Errorf("a stream holds %d KiB", each>>10)
	}
}

// A peer that does not even accept the server's bytes is cut off, at both doors.
func TestPeerThatTakesNothing(t *testing.T) {
	t.Parallel()
	s := startConfigured(t, func(c *server.Config) { c.HTTPListen = "127.0.0.1:0" })
	fill(t, s, 60, 16)
	honest := s.as(t, nil, "")
	if _, err := honest.NoteDonation(t.Context(), series("I-honest")); err != nil {
		t.Fatal(err)
	}
	before := s.metric(t, "noted_connections")
	var peers []*rogue
	for _, addr := range []string{s.Addr(), s.HTTPAddr()} {
		p := rogueAt(t, addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
		p.framer.WriteWindowUpdate(0, 1<<30)
		p.conn.(*net.TCPConn).SetReadBuffer(4096) // by default the kernel takes some MiB for it
		p.method = notedv1.DedupeService_ListDonations_FullMethodName
		peers = append(peers, p)
	}
	eventually(
		t,
		10*time.Second,
		"they are connected",
		func() bool { return s.metric(t, "noted_connections") == before+2 },
	)
	stream := uint32(1)
	eventually(t, 60*time.Second, "they are cut off", func() bool {
		// Where the server is busy it refuses many pages, and a refusal fills nothing. So the
		// peers go on asking.
		for range 10 {
			for _, p := range peers {
				p.conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
				p.call(stream)
				p.data(stream, 0, 3, []byte{0x38, 0xe8, 0x07}) // page_size 1000
			}
			stream += 2
		}
		if _, err := honest.NoteDonation(within(t, 10*time.Second), series("I-honest")); err != nil {
			t.Errorf("an honest call meanwhile: %v", err)
		}
		return s.metric(t, "noted_connections") == before
	})
}

// The server gives up a caller whose cable is pulled while it waits. When the caller
// comes back and asks again, the donation is its own.
func TestCableIsPulled(t *testing.T) {
	t.Parallel()
	network, err := redistest.NewNetwork(t, 1)
	if err != nil {
		if _, missing := exec.LookPath("ip"); missing != nil && os.Geteuid() == 0 {
			t.Fatal("ip is not installed; on Debian: apt-get install iproute2")
		}
		t.Skipf("no cable can be pulled here: %v", err)
	}
	away, store := network.Places[0], redistest.Start(t)
	s := startConfigured(t, func(c *server.Config) {
		c.Listen, c.Insecure, c.Redis, c.MaxDeadline = net.JoinHostPort(
			network.Home(),
			"0",
		), true, store.URL(), 30*time.Second
	})
	honest := s.as(t, nil, "")
	if _, err := honest.NoteDonation(t.Context(), series("I-0")); err != nil {
		t.Fatal(err)
	}
	connect := func() notedv1.DedupeServiceClient {
		conn, err := grpc.NewClient(
			s.Addr(),
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(
				func(ctx context.Context, addr string) (net.Conn, error) { return away.Dial(ctx, addr) },
			),
		)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return notedv1.NewDedupeServiceClient(conn)
	}
	request := held(series("I-1"), 10*time.Minute)
	request.RequestId = "r"
	caller := connect()
	if _, err := caller.NoteDonation(t.Context(), series("I-0")); err != nil {
		t.Fatal(err)
	}

	store.Pause()
	answered := make(chan error, 1)
	go func() {
		_, err := caller.NoteDonation(within(t, 8*time.Second), request)
		answered <- err
	}()
	eventually(
		t,
		5*time.Second,
		"its call is under way",
		func() bool { return s.metric(t, "noted_calls_under_way") == 1 },
	)
	network.CutFromHome(away)
	store.Resume()
	if err := <-answered; status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("the caller without a cable: %v, want DEADLINE_EXCEEDED", err)
	}
	if got, err := honest.NoteDonation(
		t.Context(),
		held(series("I-1"), time.Minute),
	); err != nil ||
		got.Verdict != notedv1.Verdict_VERDICT_HELD {
		t.Errorf("another one meanwhile: %v, %v; want HELD", got, err)
	}
	eventually(
		t,
		60*time.Second,
		"its connection is given up",
		func() bool { return s.metric(t, "noted_connections") == 1 },
	)

	network.HealFromHome(away)
	got, err := connect().NoteDonation(within(t, 20*time.Second), request)
	if err != nil || got.Verdict != notedv1.Verdict_VERDICT_FIRST ||
		got.Evidence != notedv1.Evidence_EVIDENCE_SAME_REQUEST {
		t.Errorf("when it asks again: %v, %v; want FIRST by SAME_REQUEST", got, err)
	}
}
