module github.com/donation-dedupe/noted

go 1.26.0

toolchain go1.26.11

// Packages of npm may hold Go, which is not ours.
ignore ./client/ts/node_modules

// What the project depends on directly, and what for.
require (
	connectrpc.com/connect v1.21.1 // the JSON door: Connect, gRPC-Web and gRPC over net/http
	github.com/KimMachineGun/automemlimit v1.0.1 // the service: GOMEMLIMIT from the container
	github.com/alicebob/miniredis/v2 v2.40.0 // the embedded store of -dev, of noted-replay and of tests
	github.com/anishathalye/porcupine v1.3.1 // tests: checks histories for linearizability
	github.com/bufbuild/protocompile v0.14.1 // tests: reads the contract with its comments, for openapi.json
	github.com/chromedp/cdproto v0.159.0 // tests of the desk: the protocol of a browser
	github.com/chromedp/chromedp v0.23.0 // tests of the desk: drives a browser
	github.com/cloudevents/sdk-go/v2 v2.16.2 // the gateway: the event that the downstream gets
	github.com/emersion/go-sasl v0.0.0-20241020182733-b788ff22d5a6 // tests of the desk: logins to a mail server
	github.com/emersion/go-smtp v0.24.0 // tests of the desk: a mail server
	github.com/google/go-cmp v0.7.0 // tests: shows what differs
	github.com/gorilla/securecookie v1.1.2 // the desk: signs sessions
	github.com/grpc-ecosystem/go-grpc-middleware/v2 v2.3.4 // the service: logging and recovery around every call
	github.com/jackc/pgx/v5 v5.13.0 // the gateway's inbox, which noted-desk and noted-replay read too: PostgreSQL
	github.com/jedib0t/go-pretty/v6 v6.8.3 // notectl and noted-replay: tables and colours
	github.com/prometheus/client_golang v1.25.0 // metrics of service and gateway
	github.com/prometheus/client_model v0.6.3 // the desk: the metrics of Noted, as the next one reads them
	github.com/prometheus/common v0.72.0 // the desk: reads metrics
	github.com/redis/go-redis/v9 v9.23.0 // the store: the client of Redis, sentinels and clusters
	github.com/rogpeppe/go-internal v1.16.0 // tests: the command line as terminal sessions
	github.com/schollz/progressbar/v3 v3.19.1 // notectl and noted-replay: progress bars
	github.com/standard-webhooks/standard-webhooks/libraries v0.0.1 // the gateway: signs what the downstream gets
	github.com/urfave/cli/v3 v3.14.0 // all mains: flags, environment, help, completion
	github.com/wneessen/go-mail v0.8.1 // the desk: mails to people
	go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc v0.72.0 // traces: calls over gRPC
	go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp v0.72.0 // traces: the JSON door, and PayPal's posts
	go.opentelemetry.io/otel v1.47.0 // traces: names, attributes and traceparent
	go.opentelemetry.io/otel/exporters/otlp/otlptrace v1.47.0 // the programs: traces to a collector
	go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc v1.47.0 // the programs: by gRPC
	go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp v1.47.0 // the programs: by HTTP
	go.opentelemetry.io/otel/metric v1.47.0 // traces: no metrics from the instrumentation
	go.opentelemetry.io/otel/sdk v1.47.0 // the programs: batches and samples spans
	go.opentelemetry.io/otel/trace v1.47.0 // service and gateway: where spans go
	go.opentelemetry.io/proto/otlp v1.11.1 // tests: a collector
	golang.org/x/crypto v0.58.0 // the desk: hashes of passwords
	golang.org/x/net v0.62.0 // tests: speaks raw HTTP/2
	golang.org/x/sys v0.49.0 // the service: how a connection that is not read from is closed
	golang.org/x/term v0.47.0 // notectl, noted-replay and noted-desk: whether a person is looking
	golang.org/x/time v0.16.0 // the service: rates of callers; the desk: of logins
	google.golang.org/genproto/googleapis/rpc v0.0.0-20261019180522-ce908d29299b // errors with their details
	google.golang.org/grpc v1.85.0 // the service and its Go client
	google.golang.org/protobuf v1.36.12 // the contract's messages
	modernc.org/sqlite v1.62.0 // the same inbox: SQLite without C
)

require (
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/cenkalti/backoff/v5 v5.0.3 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/dustin/go-humanize v1.1.0 // indirect
	github.com/felixge/httpsnoop v1.1.0 // indirect
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	github.com/go-logr/logr v1.4.4 // indirect
	github.com/go-logr/stdr v1.2.2 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/grpc-ecosystem/grpc-gateway/v2 v2.31.0 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/puddle/v2 v2.2.3 // indirect
	github.com/json-iterator/go v1.1.12 // indirect
	github.com/mattn/go-isatty v0.0.24 // indirect
	github.com/mattn/go-runewidth v0.0.16 // indirect
	github.com/mitchellh/colorstring v0.0.0-20190213212951-d06e56a500db // indirect
	github.com/modern-go/concurrent v0.0.0-20180306012644-bacd9c7ef1dd // indirect
	github.com/modern-go/reflect2 v1.0.2 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/ncruces/go-strftime v1.1.0 // indirect
	github.com/pbnjay/memory v0.0.0-20210728143218-7b4eea64cf58 // indirect
	github.com/prometheus/procfs v0.22.0 // indirect
	github.com/remyoudompheng/bigfft v0.0.0-20230129092748-24d4a6f8daec // indirect
	github.com/rivo/uniseg v0.4.7 // indirect
	github.com/yuin/gopher-lua v1.1.1 // indirect
	go.opentelemetry.io/auto/sdk v1.2.1 // indirect
	go.opentelemetry.io/otel/log v1.47.0 // indirect
	go.uber.org/atomic v1.12.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	golang.org/x/tools v0.52.0 // indirect
	google.golang.org/genproto/googleapis/api v0.0.0-20260928230214-8a89bd6388cc // indirect
	modernc.org/libc v1.80.1 // indirect
	modernc.org/mathutil v1.7.1 // indirect
	modernc.org/memory v1.12.1 // indirect
)
