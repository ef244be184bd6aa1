#!/bin/sh
# Runs after the files of the package are there, at an installation and at an upgrade.
set -e
getent group noted >/dev/null || groupadd --system noted
chgrp noted /etc/noted /etc/noted/noted.env /etc/noted/gateway.env
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# What runs goes on with the new program. Nothing starts that nobody has started.
	systemctl try-restart noted-gateway.service noted.service
fi
