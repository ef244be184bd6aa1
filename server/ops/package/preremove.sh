#!/bin/sh
# Runs before the files go. dpkg says remove, rpm 0; at an upgrade nothing is stopped here.
set -e
case $1 in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl disable --now noted-gateway.service noted.service
	fi
	;;
esac
