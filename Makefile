# Each target is a few lines over plain commands. What they need and is missing, .ci/need
# installs.

export PATH := $(CURDIR)/.tools/bin:$(CURDIR)/.tools/node_modules/.bin:$(PATH)

.PHONY: run test test-go test-python test-php test-ts test-whole stores soak check mutants vulnerable languages generate bench bench-script bench-allocations bench-relative bench-memory bench-languages release

# run starts the service with an embedded store. It needs nothing but Go.
run:
	go run ./server/cmd/noted -dev

# test runs everything there is, against real Redis servers, with the race detector.
test: test-go test-python test-php test-ts test-whole

test-go:
	.ci/need redis-server redis-cli postgresql grpcurl ip curl strace prlimit faketime jq php python3 chromium axe schemathesis
	.ci/need promtool manifests nginx haproxy envoy caddy apache2 opentelemetry openssl unshare setpriv systemd-analyze
	go test -race -timeout 20m ./server/internal/store ./... # it takes the longest, so it goes first
	go test -run '^TestSimulation' ./server/internal/store # all of it, which the race detector would take an hour for

test-python:
	.ci/need python3-venv redis-server
	client/python/test.sh
	client/python/test.sh oldest -- tests/test_fork.py tests/test_prefork.py tests/test_frameworks.py

test-php:
	.ci/need wordpress
	client/php/test.sh

test-ts:
	.ci/need npm
	client/ts/test.sh

# test-whole lets PayPal's messages come to the PHP, the Python and the Node receiver and
# to the gateway, which share one Noted. The suites before it prepare PHP, Python and
# Node. Never from the cache, which does not know what the processes are made of.
test-whole: test-python test-php test-ts
	.ci/need redis-server
	go test -race -count=1 -tags whole ./client/whole

# stores runs the store's suite on other servers than Debian's Redis: older and newer
# releases, and Valkey. Also on one of yours: make stores STORES=/path/to/redis-server.
stores: STORES ?= .tools/stores/*/redis-server
stores:
	.ci/need redis-server redis-cli ip strace prlimit faketime stores
	@failed=; for server in $(STORES); do \
		"$$server" --version; \
		REDIS_SERVER=$$(realpath "$$server") go test -count=1 -timeout 20m ./server/internal/redistest ./server/internal/store || failed="$$failed $$server"; \
	done; test -z "$$failed" || { echo "failed on:$$failed" >&2; exit 1; }

# soak lets the storm of deliveries and faults go on for as long as it is told: make soak
# SOAK=8h. SOAK_SEED=… begins with the round that failed.
soak: SOAK ?= 10m
soak:
	.ci/need redis-server redis-cli ip
	SOAK=$(SOAK) go test -race -count=1 -timeout 0 -v -run '^TestSoak$$' ./server/soak

# check is what a change must pass before its tests are looked at.
check:
	.ci/need tools protoc grpc_php_plugin php phpcs
	.ci/width
	golangci-lint run ./...
	ruff format --check client/python
	ruff check client/python
	cd client/php && phpcs
	buf lint
	buf format --diff --exit-code
	buf breaking --against '.git#branch=$(shell git rev-parse -q --verify main >/dev/null && echo main || git branch --show-current)'
	go mod tidy -diff
	.ci/current

# mutants puts faults into the scripts and into the Go beside them, one at a time, each of
# which tests must find.
mutants:
	.ci/need redis-server redis-cli faketime gremlins
	go test -tags mutants -count=1 -timeout 20m -run '^TestMutants$$' ./server/internal/store
	.ci/mutants 97 server/internal/store '^(Fuzz.*|Test(WrongReceipts|NotStorable|Unreadable|FirstRelease|FreshNote|ExpectedSecond|WriteAgreeing|UnknownLetters|ReceiptInShadow|ForgedShadow|Life|HoldOutlastsRetention|EachPairOfChannelsIsLearned|ClockSetBackOnRedis))$$' line.go keys.go
	.ci/mutants 97 server/internal/contract '^Test(Limits.*|Amounts|EndsOfRanges|RefusalsDoNotEcho|Every.*|Reasons.*|Refuse|Jitter.*)$$' check.go refusals.go

# vulnerable looks for known vulnerabilities in the Go code that we call, the standard
# library of the toolchain in go.mod included. Without that toolchain, build with another
# one as new.
vulnerable:
	.ci/need govulncheck
	GOTOOLCHAIN=auto govulncheck -db "file://$(CURDIR)/.tools/vulndb" ./...

# languages runs the examples of api/examples in languages without a library of ours.
languages:
	.ci/need ruby grpc_ruby_plugin protoc libprotobuf-dev mvn cargo
	.ci/languages

# generate rebuilds what is generated from api/, with the pinned plugins.
generate:
	.ci/need tools protoc grpc_php_plugin
	rm -rf gen client/python/src/noted/v1 client/ts/src/gen
	buf generate
	go test -count=1 -run '^TestOpenAPI$$' ./server/internal/door -update

# bench prints what a call costs, on real processes, and then what scripts and memory do.
# Quote ratios of one run. make bench BENCH='^fresh' measures only the kinds whose name
# matches; NOTED='before=…/noted,after=…/noted' lets these programs take turns.
bench: export BENCH ?= .
bench:
	.ci/need redis-server postgresql
	cd server/bench && go test -count=1 -timeout 20m -run '^TestTable$$'
	go test -run '^$$' -bench Memory -benchtime 1x ./server/internal/store
	go test -run '^$$' -bench Scripts -benchtime 200000x ./server/internal/store
	go test -run '^$$' -bench FullSeries -benchtime 200x ./server/internal/store
	go test -run '^$$' -bench Gateway -benchtime 3000x ./client/gateway
	go test -run '^$$' -bench 'Agree|Compare|LargeLedger' -benchtime 3x ./client/desk ./client/desk/reconcile

# bench-script counts the instructions that a call costs Redis, which do not swing, and
# warns of a call that costs a tenth more than in the committed table. After a change that
# is meant to cost, or to save, make bench-script UPDATE=-update writes the table anew.
bench-script:
	.ci/need redis-server valgrind
	go test -run '^$$' -bench '^BenchmarkInstructions$$' -benchtime 1x ./server/internal/store $(UPDATE)

# bench-allocations warns of a call that allocates a tenth more than it did.
bench-allocations:
	.ci/need redis-server
	cd server/bench && BENCH='^(fresh notes(, JSON door)?|a donation on.*|a message.*|DonationExists|hold, extend.*)$$' SPAN=500ms go test -count=1 -run '^TestTable$$'

# bench-relative lets Noted take turns with the best-known service of its kind, a gRPC rate
# limiter over Redis, and with the least that any such service needs.
bench-relative: export BENCH ?= .
bench-relative:
	.ci/need redis-server relative
	cd server/bench && RELATIVE=$(CURDIR)/.tools/bin/ratelimit go test -count=1 -timeout 20m -run '^TestTable$$'

# bench-memory keeps 256 callers busy at a server in a container, and says whether its
# memory stays flat. As root it makes the container; otherwise there is none.
bench-memory: SOAK ?= 1h
bench-memory:
	.ci/need redis-server
	cd server/bench && SOAK=$(SOAK) go test -count=1 -timeout 0 -v -run '^TestMemory$$'

# bench-languages prints what the libraries cost, and how many messages their receivers
# take. make test prepares them.
bench-languages:
	.ci/need redis-server
	go test -count=1 -tags whole -run '^$$' -bench Languages -benchtime 1x ./client/whole

# release makes programs, packages and images in dist/, installs and runs them, and
# publishes nothing. Building its tools the first time takes minutes.
release:
	.ci/need goreleaser buildah debootstrap rpm systemd-nspawn
	.ci/release
	go test -count=1 -timeout 30m -tags release -run '^TestRelease' -v ./server/ops
