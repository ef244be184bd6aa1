#!/bin/sh
# Runs the tests of the PHP library, from any directory, and exits with their code. As
# root on Debian it installs what is missing; else it says what to install. Arguments go
# to phpunit: client/php/test.sh --filter Cases
set -eu
cd "$(dirname "$0")"

missing() {
	command -v php >/dev/null || echo php-cli
	command -v php >/dev/null && php -r 'exit(extension_loaded("curl") ? 0 : 1);' || echo php-curl
	command -v phpunit >/dev/null || echo phpunit
	command -v composer >/dev/null || echo composer
	for package in psr/log:Psr/Log guzzlehttp/psr7:GuzzleHttp/Psr7 guzzlehttp/guzzle:GuzzleHttp symfony/http-foundation:Symfony/Component/HttpFoundation; do
		[ -e "/usr/share/php/${package#*:}/autoload.php" ] || echo "php-${package%:*}" | tr / -
	done
}

packages=$(missing | tr '\n' ' ')
if [ -n "$packages" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	# shellcheck disable=SC2086 # one word a package
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $packages; } >&2
	packages=$(missing | tr '\n' ' ')
fi
if [ -n "$packages" ]; then
	echo "test.sh: missing: $packages; install with: apt-get install $packages" >&2
	exit 1
fi
if ! command -v go >/dev/null; then
	echo "test.sh: go is not installed, so the tests that need the server or notectl are skipped" >&2
fi
exec phpunit "$@"
