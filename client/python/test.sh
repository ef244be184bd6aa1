#!/bin/sh
# Runs the tests of the Python library, and mypy: client/python/test.sh [oldest] [--
# arguments of pytest].
#
# With "oldest" they run with the oldest gRPC and protobuf that the library promises to
# run with. Exits as pytest does, or with mypy's code where pytest is content. PYTHON
# names another interpreter; each has an environment of its own beside this file. The real
# server and notectl are built by the tests; in a folder NOTED_TEST_BIN they are found
# ready-made.
set -eu
cd "$(dirname "$0")"

python=${PYTHON:-python3}
venv=.venv
if [ "${1:-}" = oldest ]; then
	venv=.venv-oldest
	shift
fi
[ "${1:-}" = -- ] && shift
[ "$python" = python3 ] || venv=$venv-$(basename "$python")

if [ ! -x "$venv/bin/pip" ]; then
	rm -rf "$venv"
	"$python" -m venv "$venv" || {
		rm -rf "$venv"
		echo "test.sh: $python cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2
		exit 1
	}
fi

# pip runs only when the lists have changed.
if ! cmp -s requirements-test.txt "$venv/installed-test.txt" || ! cmp -s requirements-oldest.txt "$venv/installed-oldest.txt"; then
	"$venv/bin/pip" install --quiet --disable-pip-version-check -r requirements-test.txt
	case $venv in *oldest*) "$venv/bin/pip" install --quiet --disable-pip-version-check -r requirements-oldest.txt ;; esac
	cp requirements-test.txt "$venv/installed-test.txt"
	cp requirements-oldest.txt "$venv/installed-oldest.txt"
fi

# The package as a user gets it, noted/v1 in it, not the folder src. build/ would bring
# back modules that have been deleted.
rm -rf build
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation --force-reinstall .
rm -rf build

types=0
case $venv in *oldest*) ;; *) "$venv/bin/mypy" -p noted -p tests || types=$? ;; esac
"$venv/bin/python" -m pytest -q "$@"
exit $types
