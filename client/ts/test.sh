#!/bin/sh
# Runs the tests of the TypeScript example against a real server, from any directory, and exits with their code. What npm installs stays in this folder.
set -eu
cd "$(dirname "$0")"

for program in node npm go; do
	command -v "$program" >/dev/null || {
		echo "test.sh: $program is missing; install Node 20 or newer with npm, and Go" >&2
		exit 1
	}
done
node -e 'process.exit(process.versions.node.split(".")[0] >= 20 ? 0 : 1)' || {
	echo "test.sh: Node is $(node --version); 20 or newer is needed" >&2
	exit 1
}

cmp -s package.json node_modules/.installed || {
	npm install --silent --no-audit --no-fund
	cp package.json node_modules/.installed
}
rm -rf gen build
cp -R ../../gen/ts gen
node_modules/.bin/tsc
go build -o build/noted ../../server/cmd/noted
NOTED="$PWD/build/noted" exec node --test --test-reporter=spec build/once.test.js
