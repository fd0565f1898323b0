#!/bin/sh
# Starts Sidekey in a development container as a user of its own, and returns when it serves. Runs as root at each start.
set -eu
# Folders of the image's PATH may belong to the user of the container.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

home=/var/lib/sidekey
cd "$home"
as_sidekey() {
  # The user of the container calls the proxy without a token.
  runuser -u sidekey -- env -i HOME=$home PATH=$PATH SIDEKEY_LOCAL_CALLERS=any "$@"
}

# The volume may be older than the image, in which the user had another number.
chown -Rh sidekey: .
as_sidekey rm -f started
as_sidekey sh -c 'umask 077; exec sidekey start --json </dev/null >started 2>>log' &
until [ -s started ]; do
  kill -0 $! 2>/dev/null || {
    echo "sidekey did not start: $(tail -n 5 log)" >&2
    exit 1
  }
  sleep 0.1
done
# HGRCPATH names the settings of one user: those of sidekey here.
variables=$(as_sidekey sidekey env --shell bash)
printf '%s\n' "$variables" | sed '/^export HGRCPATH=/d' >/usr/local/share/sidekey/env.sh
# Every user may read the files that clients trust, and no others.
cd .local/state/sidekey/certs
chmod 0711 ../../.. ../.. .. .
chmod -R go+rX clients
