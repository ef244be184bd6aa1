#!/bin/bash
# walk.sh PROGRAMS COMMANDS RECEIVER CADDYFILE CADDY APACHE.CONF APACHE runs the commands of server/INSTALL.md in
# namespaces of its own: what it changes in /etc, /usr and /var is gone afterwards, and so is what it starts. It stands in
# for the package manager, for systemd and for PayPal, and for nothing of ours.
set -euo pipefail
programs=$1 commands=$2 receiver=$3 caddyfile=$4 caddy=$5 apacheconf=$6 apache=$7 source=$PWD

mount --make-rprivate /
changes=$(mktemp -d)
mount -t tmpfs changes "$changes"
for folder in etc usr var; do
	mkdir -p "$changes/$folder" "$changes/work-$folder"
	mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$changes/$folder,workdir=$changes/work-$folder" "/$folder"
done
mount -t tmpfs run /run
ip link set lo up
echo 127.0.0.1 donations.example.org >>/etc/hosts

# apt-get puts the contents of the package where .goreleaser.yaml says.
apt-get() {
	case "$*" in *noted_*) ;; *) return ;; esac
	install -m 755 "$programs"/noted "$programs"/noted-gateway "$programs"/notectl /usr/bin/
	mkdir -p /etc/noted
	(
		cd ../..
		sed -n 's/.*{src: \([^,]*\), dst: \([^,}]*\).*/\1 \2/p' .goreleaser.yaml | while read -r from to; do
			install -D -m 644 "$from" "$to"
		done
		server/ops/package/postinstall.sh
	)
}

# systemctl starts what a unit says, as another user, with the unit's environment alone.
declare -A running
systemctl() {
	local verb=$1 name=${!#}
	case $verb-$name in
	reload-nginx) nginx || nginx -s reload ;;
	enable-noted* | restart-noted*)
		local unit=/usr/lib/systemd/system/$name.service
		local command environment group state
		command=$(sed -n 's/^ExecStart=//p' "$unit")
		environment=$(sed -n 's/^EnvironmentFile=//p' "$unit")
		group=$(getent group "$(sed -n 's/^SupplementaryGroups=//p' "$unit")" | cut -d: -f3)
		state=$(sed -n 's/^StateDirectory=//p' "$unit")
		if [ -n "${running[$name]:-}" ]; then
			kill "${running[$name]}"
			wait "${running[$name]}" || { echo "$name ended with $?" >&2; return 1; }
		fi
		[ -z "$state" ] || { mkdir -p "/var/lib/$state" && chown 61234:61234 "/var/lib/$state" && chmod 700 "/var/lib/$state"; }
		(
			umask 077
			# shellcheck disable=SC2046
			exec env -i $(grep '^[A-Z]' "$environment") setpriv --reuid 61234 --regid 61234 --groups "$group" \
				--bounding-set -all --inh-caps -all --no-new-privs $command
		) >>"/run/$name.log" 2>&1 &
		running[$name]=$!
		;;
	*)
		echo "walk.sh does not know systemctl $*" >&2
		return 1
		;;
	esac
}
journalctl() { cat "/run/$2.log"; }

# certbot makes a certificate of its own.
certbot() {
	local folder=/etc/letsencrypt/live/donations.example.org
	mkdir -p "$folder"
	openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=donations.example.org -addext subjectAltName=DNS:donations.example.org \
		-keyout "$folder/privkey.pem" -out "$folder/fullchain.pem" 2>/dev/null
	export CURL_CA_BUNDLE=$folder/fullchain.pem
}

until_true() { for _ in $(seq 600); do ! "$@" >/dev/null 2>&1 || return 0; sleep 0.1; done; echo "in vain: $*" >&2; return 1; }

mkdir -p /run/redis /run/books && chown redis /run/redis
sed -i 's/^supervised .*/supervised no/' /etc/redis/redis.conf
setpriv --reuid redis --regid redis --init-groups redis-server /etc/redis/redis.conf --daemonize no >/run/redis.log 2>&1 &
until_true redis-cli ping

# PayPal, as far as the gateway asks it.
python3 -c '
from http.server import *
class PayPal(BaseHTTPRequestHandler):
    def do_POST(self):
        genuine = b"receiver_email" in self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200); self.end_headers(); self.wfile.write(b"VERIFIED" if genuine else b"INVALID")
HTTPServer(("127.0.0.1", 8443), PayPal).serve_forever()' >/dev/null 2>&1 &

number=0
while IFS= read -r -d '' command; do
	number=$((number + 1))
	echo "--- $number"
	eval "$command" || { echo "failed: $command" >&2; tail -5 /run/*.log >&2; exit 1; }
	case $command in *GATEWAY_ACCOUNTS*)
		echo GATEWAY_IPN_VERIFY_URL=http://127.0.0.1:8443 >>/etc/noted/gateway.env
		(cd /run/books && cp /etc/noted/forward.secret . && exec python3 "$receiver") >/run/receiver.log 2>&1 &
		;;
	esac
done <"$commands"

# A donation from PayPal's post to the books, once, though it is told twice.
echo "--- donations"
cd "$source"
tell() {
	curl -s --fail-with-body -d "txn_type=web_accept&txn_id=$1&payment_status=Completed&mc_gross=5.00&mc_currency=EUR&receiver_email=donations%40example.org" \
		https://donations.example.org/paypal/ipn >/dev/null
}
booked() { [ "$(ls /run/books/donations 2>/dev/null | wc -l)" = "$1" ]; }
tell 0TEST00000000001
tell 0TEST00000000001
until_true booked 1

nginx -s quit
until_true eval '! curl -s https://donations.example.org'
sed "s#^donations.example.org {#&\n\ttls /etc/letsencrypt/live/donations.example.org/fullchain.pem /etc/letsencrypt/live/donations.example.org/privkey.pem#" "$caddyfile" >/etc/Caddyfile
HOME=/run "$caddy" run --adapter caddyfile --config /etc/Caddyfile >/run/caddy.log 2>&1 &
caddy_id=$!
until_true curl -s https://donations.example.org
tell 0TEST00000000002
until_true booked 2

kill $caddy_id
until_true eval '! curl -s https://donations.example.org'
{
	for module in mpm_event authz_core socache_shmcb alias ssl proxy proxy_http; do # as Debian and a2enmod load them
		echo "LoadModule ${module}_module /usr/lib/apache2/modules/mod_$module.so"
	done
	printf '%s\n' 'Listen 443' 'User www-data' 'Group www-data' 'PidFile /run/apache.pid' 'ErrorLog /run/apache.log' 'ServerName localhost'
	cat "$apacheconf"
} >/etc/apache.conf
"$apache" -d /run -f /etc/apache.conf
until_true curl -s https://donations.example.org
[ "$(curl -s -o /dev/null -w '%{http_code}' https://donations.example.org/metrics)" = 404 ]
[ "$(curl -s -o /dev/null -w '%{http_code}' -d txn_type=web_accept https://donations.example.org/paypal/ipn)" = 400 ]
tell 0TEST00000000004
until_true booked 3
# Apache passes messages on again as soon as the gateway is back.
kill "${running[noted-gateway]}"
wait "${running[noted-gateway]}"
unset "running[noted-gateway]"
[ "$(curl -s -o /dev/null -w '%{http_code}' -d txn_type=web_accept https://donations.example.org/paypal/ipn)" = 503 ]
systemctl restart noted-gateway
systemctl restart noted
until_true curl -sf http://127.0.0.1:9091/readyz
tell 0TEST00000000001
tell 0TEST00000000003
until_true booked 4
grep -ho '"series_id": "[^"]*"' /run/books/donations/* | grep -o '0TEST0*[1234]' | sort | uniq -c
