#!/bin/sh
# package.sh runs as root in a Debian that systemd has booted: the life of the package.
set -eux
trap '[ $? = 0 ] || journalctl -o cat -u noted -u noted-gateway | tail -40' EXIT

until_true() { for _ in $(seq 600); do ! "$@" >/dev/null 2>&1 || return 0; sleep 0.1; done; return 1; }
active() { systemctl is-active "$1"; }
gone() { ! systemctl is-active "$1"; }
owner() { stat -c %u "/proc/$(systemctl show -p MainPID --value "$1")"; }

# Installed: nothing runs that nobody has started.
dpkg -i /noted.deb
gone noted
gone noted-gateway
[ "$(stat -c '%U:%G %a' /etc/noted/noted.env)" = "root:noted 640" ]
[ "$(stat -c '%U:%G %a' /etc/noted)" = "root:noted 750" ]

# Started, within the units' walls and as nobody in particular.
redis-cli config set maxmemory-policy noeviction
echo "whsec_$(head -c 32 /dev/urandom | base64)" >/etc/noted/forward.secret
noted-gateway inbox-key >/etc/noted/inbox.key
echo GATEWAY_ACCOUNTS=donations@example.org >>/etc/noted/gateway.env
chgrp noted /etc/noted/*
chmod 640 /etc/noted/*
systemctl enable --now noted noted-gateway
until_true notectl note -series I-1
until_true test -e /var/lib/noted-gateway/inbox.db
[ "$(owner noted)" -ge 61184 ] # systemd's range of dynamic users
[ "$(owner noted-gateway)" -ge 61184 ]
# A person looks into the inbox as root, and the gateway can still write there.
(set -a && . /etc/noted/gateway.env && noted-gateway inbox list)
systemctl restart noted-gateway
until_true active noted-gateway
# The audit has a folder that the unit may write.
echo NOTED_AUDIT_LOG=/var/log/noted/audit.log >>/etc/noted/noted.env
systemctl restart noted
until_true test -e /var/log/noted/audit.log
systemctl reload noted
# A wrong setting ends it, and systemd does not try again.
echo NOTED_RETENTION=never >>/etc/noted/noted.env
systemctl restart noted || true
until_true sh -c 'systemctl is-failed noted'
sed -i '/RETENTION/d' /etc/noted/noted.env
systemctl restart noted

# Upgraded: the settings stay, what runs is the new program, and it remembers.
before=$(systemctl show -p MainPID --value noted)
dpkg -i /later.deb
grep AUDIT_LOG /etc/noted/noted.env
until_true active noted
[ "$(systemctl show -p MainPID --value noted)" != "$before" ]
until_true sh -c 'notectl exists -series I-1 | grep -qi settled'

# Removed: nothing runs, and what is the operator's stays.
dpkg -r noted
gone noted
gone noted-gateway
[ ! -e /usr/bin/noted ] && [ ! -e /usr/lib/systemd/system/noted.service ]
[ -e /etc/noted/noted.env ] && [ -e /etc/noted/inbox.key ] && [ -e /var/lib/noted-gateway/inbox.db ]
