#!/bin/sh
# Checks and tests the TypeScript library against real servers, from any directory, and exits with
# the code of the last step. What npm installs stays in this folder.
set -eu
cd "$(dirname "$0")"

for program in node npm go; do
	command -v "$program" >/dev/null || {
		echo "test.sh: $program is missing; install Node 20 or newer with npm, and Go" >&2
		exit 1
	}
done
# Debian 12 has Node 18; npm has newer ones.
if ! node -e 'process.exit(process.versions.node.split(".")[0] >= 20 ? 0 : 1)'; then
	newer=.node/node_modules/node/bin
	[ -x "$newer/node" ] || npm install --silent --no-save --no-audit --no-fund --prefix .node node@22.12.0
	PATH="$PWD/$newer:$PATH"
fi

# npm ci installs exactly what package-lock.json names, each with its checksum.
cat package.json package-lock.json | cmp -s - node_modules/.installed || {
	npm ci --silent --no-audit --no-fund
	cat package.json package-lock.json >node_modules/.installed
}
rm -rf build
npm run --silent build
npm run --silent check
node_modules/.bin/tsc
go build -o build/ ../../server/cmd/noted ../cmd/notectl
export NOTED="$PWD/build/noted" NOTECTL="$PWD/build/notectl"
exec node --test --test-reporter=spec ${@:-build/test/*.test.mjs}
