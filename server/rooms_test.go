package server_test

const module = "github.com/donation-dedupe/noted/"

// A room is a package and the packages that it may import. Tests may import more. Lists
// are words separated by spaces, our own packages without the module's name.
type room struct {
	path    string
	brings  string // packages of ours that it may bring into a program, through any other too
	imports string // which of those, or of other modules, it may import itself; "*": any
	without string // packages that it must not bring along, nor any below them
}

// Lists that several rooms share.
const (
	contract = "gen/go/noted/v1 gen/go/noted/v1/notedv1connect"
	notes    = "server/internal/store server/internal/store/epoch server/internal/store/wire"
	// below are the packages that the rooms of the server stand on.
	below = "gen/go/noted/v1 server/internal/agreement server/internal/contract server/internal/descriptors " +
		"server/internal/metrics " + notes
	inside = below + " gen/go/noted/v1/notedv1connect server/internal/access server/internal/calls " +
		"server/internal/door " +
		"server/internal/health server/internal/jsonfile server/internal/limits server/internal/traces"
	service = contract + " server " + inside
	trial   = service + " server/internal/embedded"
	person  = "client client/cmdline client/paypal client/terminal" // what programs for people stand on

	// inGateway are the packages that the gateway's processing stands on.
	inGateway = "client client/gateway/inbox client/gateway/internal/answer client/gateway/internal/downstream " +
		"client/gateway/internal/metrics client/gateway/internal/peer client/gateway/internal/setting " +
		"client/gateway/internal/traces client/gateway/internal/traces/ends client/gateway/internal/verify " +
		"client/paypal gen/go/noted/v1"

	// inDesk lists the packages below the desk.
	inDesk = "client client/closing client/closing/messages client/desk/alive client/desk/reconcile " +
		"client/desk/shadow client/desk/walk client/gateway/inbox client/paypal gen/go/noted/v1"

	useGRPC       = "google.golang.org/grpc google.golang.org/genproto google.golang.org/protobuf"
	useRedis      = "github.com/redis/go-redis"
	useMiniredis  = "github.com/alicebob"
	useMiddleware = "github.com/grpc-ecosystem/go-grpc-middleware"
	usePrometheus = "github.com/prometheus/client_golang"

	// useTraces is what makes spans: the interface, and not the SDK behind it.
	useTraces = "go.opentelemetry.io/otel go.opentelemetry.io/contrib/instrumentation"
	sdk       = "go.opentelemetry.io/otel/sdk go.opentelemetry.io/otel/exporters"

	// ofServer are the modules that the server needs, and that no user's program may have
	// to build.
	ofServer = "connectrpc.com github.com/alicebob github.com/grpc-ecosystem github.com/prometheus " +
		"github.com/redis github.com/urfave go.opentelemetry.io"
)

// rooms are all packages of the module. A "*" leaves the choice of other modules to the
// package, except those that its row forbids.
var rooms = []room{
	{"gen/go/noted/v1", "", useGRPC, ""},
	{"gen/go/noted/v1/notedv1connect", "gen/go/noted/v1", "gen/go/noted/v1 connectrpc.com/connect", ""},

	{"server/internal/store/wire", "", useRedis, "google.golang.org github.com/prometheus testing"},
	{
		"server/internal/store/epoch", "server/internal/store/wire", "server/internal/store/wire " + useRedis,
		"google.golang.org github.com/prometheus testing",
	},
	{
		"server/internal/store", "server/internal/store/wire server/internal/store/epoch",
		"server/internal/store/wire server/internal/store/epoch", "google.golang.org github.com/prometheus testing",
	},
	{"server/internal/agreement", notes, "server/internal/store", "google.golang.org github.com/prometheus testing"},
	{"server/internal/model", notes, "server/internal/store", "google.golang.org github.com/prometheus"},
	{"server/internal/paypaltest", notes, "server/internal/store", "google.golang.org github.com/prometheus"},
	{"server/internal/embedded", "", useMiniredis, "google.golang.org github.com/prometheus github.com/redis testing"},
	{"server/internal/jsonfile", "", "", "golang.org/x net testing"},
	// From the store upwards: an arrow between rooms only goes down.
	{"server/internal/descriptors", "", "golang.org/x/sys/unix", "google.golang.org github.com/prometheus net testing"},
	{
		"server/internal/contract", "gen/go/noted/v1 " + notes,
		"gen/go/noted/v1 server/internal/store " + useGRPC, "github.com/prometheus testing",
	},
	{
		"server/internal/metrics", below,
		"gen/go/noted/v1 server/internal/agreement server/internal/contract server/internal/store " +
			useMiddleware + " " + usePrometheus + " " + useGRPC, "testing",
	},
	{
		"server/internal/access",
		below + " server/internal/jsonfile",
		"gen/go/noted/v1 server/internal/contract server/internal/jsonfile server/internal/metrics " +
			"server/internal/store " +
			useMiddleware + " " + usePrometheus + " " + useGRPC,
		"testing",
	},
	{
		"server/internal/limits",
		below,
		"server/internal/contract server/internal/descriptors server/internal/metrics golang.org/x/sys " +
			"golang.org/x/time " +
			usePrometheus + " " + useGRPC,
		"testing",
	},
	{
		"server/internal/health",
		below,
		"gen/go/noted/v1 server/internal/contract server/internal/descriptors server/internal/metrics " +
			"server/internal/store " +
			usePrometheus + " " + useGRPC,
		"testing",
	},
	{
		"server/internal/calls",
		below + " server/internal/access server/internal/health server/internal/jsonfile server/internal/limits",
		"gen/go/noted/v1 server/internal/access server/internal/contract server/internal/health " +
			"server/internal/limits " +
			"server/internal/metrics server/internal/store " + useMiddleware + " " + useGRPC,
		"testing",
	},
	{
		"server/internal/door",
		contract + " " + below + " server/internal/limits",
		contract + " server/internal/contract server/internal/limits server/internal/metrics " +
			"connectrpc.com/connect " + useGRPC,
		"testing",
	},
	{
		"server/internal/backup", below + " server/internal/access server/internal/jsonfile",
		"server/internal/access server/internal/store", "testing",
	},
	{
		"server/internal/traces", "gen/go/noted/v1 server/internal/contract " + notes,
		"gen/go/noted/v1 server/internal/contract server/internal/store " + useTraces + " " + useGRPC,
		"testing " + sdk,
	},
	{"server/internal/pkitest", "", "testing", ""},
	{
		"server/internal/redistest",
		"",
		useRedis + " golang.org/x/sys testing",
		"google.golang.org github.com/prometheus",
	},
	{
		"server", service, "gen/go/noted/v1 " + inside + " go.opentelemetry.io/otel/trace " + useGRPC,
		useMiniredis + " github.com/urfave testing " + sdk,
	},
	{"server/servertest", trial, "server server/internal/embedded testing " + useGRPC, "github.com/urfave"},
	{"server/ops", "", "", ""},   // tests alone
	{"server/soak", "", "", ""},  // tests alone
	{"server/bench", "", "", ""}, // tests alone
	{
		"server/cmd/noted", trial + " client/cmdline client/telemetry server/internal/backup",
		"* client/cmdline client/telemetry server server/internal/backup server/internal/embedded " +
			"server/internal/jsonfile",
		"testing",
	},
	// A program that holds the service, and reads PayPal's messages as clients do, from a
	// gateway's inbox too.
	{
		"server/cmd/noted-replay", trial + " " + person + " client/gateway/inbox",
		"* client/gateway/inbox server server/internal/embedded " + person,
		"testing",
	},

	// client turns what client/paypal found into requests: neither paypal nor the gateway
	// knows the generated code.
	{
		"client", "gen/go/noted/v1 client/paypal", "gen/go/noted/v1 client/paypal " + useGRPC,
		ofServer + " testing",
	},
	{
		"client/clienttest", "client client/paypal gen/go/noted/v1",
		"client gen/go/noted/v1 testing " + useGRPC,
		ofServer,
	},
	{"client/paypal", "", "", "net/http golang.org/x testing"},
	{
		"client/gateway", inGateway + " client/gateway/internal/process",
		"client client/gateway/inbox client/gateway/internal/answer client/gateway/internal/downstream " +
			"client/gateway/internal/metrics client/gateway/internal/peer client/gateway/internal/process " +
			"client/gateway/internal/setting client/gateway/internal/traces/ends client/gateway/internal/verify " +
			"google.golang.org/grpc/codes google.golang.org/grpc/status go.opentelemetry.io/otel/trace",
		"testing " + sdk,
	},
	{"client/internal/paypaltest", "", "testing", "google.golang.org github.com/redis"},
	{"client/internal/processtest", "", "testing", "google.golang.org github.com/redis"},
	// The rooms of the gateway, from the top down.
	{
		"client/gateway/internal/process", inGateway,
		"client client/gateway/inbox client/gateway/internal/answer client/gateway/internal/downstream " +
			"client/gateway/internal/metrics client/gateway/internal/setting client/gateway/internal/traces " +
			"client/gateway/internal/verify client/paypal google.golang.org/protobuf/types go.opentelemetry.io/otel/trace",
		"testing",
	},
	{
		"client/gateway/internal/verify",
		"client/gateway/internal/answer client/gateway/internal/metrics client/gateway/internal/peer " +
			"client/gateway/internal/setting client/gateway/internal/traces client/paypal",
		"client/gateway/internal/answer client/gateway/internal/metrics client/gateway/internal/peer " +
			"client/gateway/internal/setting",
		"google.golang.org/grpc github.com/redis github.com/jackc modernc.org testing",
	},
	{
		"client/gateway/internal/downstream",
		"client client/gateway/internal/peer client/gateway/internal/setting client/gateway/internal/traces " +
			"client/paypal gen/go/noted/v1",
		"client client/gateway/internal/peer client/gateway/internal/setting client/gateway/internal/traces client/paypal " +
			"github.com/cloudevents github.com/standard-webhooks " + useRedis,
		"github.com/prometheus github.com/jackc modernc.org testing",
	},
	{
		"client/gateway/internal/metrics", "client/gateway/internal/answer client/paypal",
		"client/gateway/internal/answer client/paypal " + usePrometheus,
		"google.golang.org/grpc github.com/redis testing",
	},
	{"client/gateway/internal/answer", "", "", "testing"},
	{"client/gateway/internal/peer", "client/gateway/internal/traces", "client/gateway/internal/traces", "testing"},
	{"client/gateway/internal/traces", "", "go.opentelemetry.io/otel", "google.golang.org/grpc testing " + sdk},
	{"client/gateway/internal/traces/ends", "", useTraces + " google.golang.org/grpc", "testing " + sdk},
	{"client/gateway/internal/setting", "", "", "net testing"},
	{
		"client/gateway/inbox", "", "github.com/jackc/pgx modernc.org/sqlite",
		"google.golang.org github.com/redis github.com/prometheus testing",
	},
	{
		"client/gateway/inbox/inboxtest", "client/internal/processtest", "client/internal/processtest testing", "",
	},
	{
		"client/cmd/noted-gateway",
		"client/closing client/closing/messages client/cmdline client/telemetry client/gateway " +
			"client/gateway/internal/process " + inGateway,
		"client client/closing/messages client/cmdline client/telemetry client/gateway client/gateway/inbox " +
			"github.com/urfave google.golang.org/protobuf " + useRedis,
		"testing",
	},
	// Closing by hand: notectl, which has no inbox, needs the first alone.
	{
		"client/closing", "client client/paypal gen/go/noted/v1", "client google.golang.org/protobuf",
		"testing " + useRedis,
	},
	{
		"client/closing/messages", "client client/closing client/gateway/inbox client/paypal gen/go/noted/v1",
		"client client/closing client/gateway/inbox google.golang.org/protobuf", "testing " + useRedis,
	},
	{
		"client/desk", inDesk,
		"client client/closing client/closing/messages client/desk/alive client/desk/reconcile " +
			"client/desk/shadow client/desk/walk client/gateway/inbox " +
			"github.com/gorilla/securecookie golang.org/x/crypto/argon2 golang.org/x/time google.golang.org/protobuf",
		"testing " + useRedis,
	},
	{
		"client/desk/reconcile", "client client/paypal gen/go/noted/v1", "client google.golang.org/protobuf",
		"testing " + useRedis,
	},
	{
		"client/desk/alive", "client client/gateway/inbox client/paypal gen/go/noted/v1",
		"client client/gateway/inbox github.com/prometheus/client_model github.com/prometheus/common " +
			"google.golang.org/protobuf",
		"testing " + useRedis,
	},
	{
		"client/desk/walk", "client client/paypal gen/go/noted/v1", "client google.golang.org/protobuf",
		"testing " + useRedis,
	},
	{
		"client/desk/alert", "client client/desk/alive client/gateway/inbox client/paypal gen/go/noted/v1",
		"client client/desk/alive client/gateway/inbox github.com/standard-webhooks github.com/wneessen/go-mail " +
			"google.golang.org/protobuf",
		"testing " + useRedis,
	},
	{"client/desk/shadow", "client client/paypal gen/go/noted/v1", "client", "testing " + useRedis},
	{
		"client/desk/week", "client client/gateway/inbox client/paypal gen/go/noted/v1",
		"client client/gateway/inbox client/paypal google.golang.org/protobuf", "testing " + useRedis,
	},
	{
		"client/cmd/noted-desk",
		"client/cmdline client/desk client/desk/alert client/desk/week " + inDesk,
		"client client/cmdline client/desk client/desk/alert client/desk/alive client/desk/week client/gateway/inbox " +
			"github.com/urfave golang.org/x/term",
		"testing",
	},
	// Programs of clients and of the server share the reading of settings. Since client
	// must not import server, this package is here, and knows neither.
	{"client/cmdline", "", "github.com/urfave", "google.golang.org github.com/prometheus testing"},
	// The one place that knows how spans leave a program.
	{"client/telemetry", "client/cmdline", "client/cmdline go.opentelemetry.io/otel", "github.com/prometheus testing"},
	{
		"client/terminal", "client client/paypal gen/go/noted/v1",
		"client github.com/jedib0t github.com/schollz golang.org/x/term google.golang.org/protobuf/types",
		"github.com/urfave testing",
	},
	{"client/terminal/terminaltest", "", "github.com/rogpeppe/go-internal", ""},
	{
		"client/cmd/notectl",
		person + " client/closing client/cmd/notectl/completion client/cmd/notectl/doctor client/desk/reconcile " +
			"gen/go/noted/v1",
		"* client/closing client/cmd/notectl/completion client/cmd/notectl/doctor client/desk/reconcile " +
			"gen/go/noted/v1 " + person,
		"testing",
	},
	{"client/cmd/notectl/completion", "", "github.com/urfave", "google.golang.org testing"},
	{
		"client/cmd/notectl/doctor", "client client/paypal gen/go/noted/v1", "client " + useGRPC,
		ofServer + " testing",
	},
	{"client/whole", "", "", ""}, // tests alone
}
