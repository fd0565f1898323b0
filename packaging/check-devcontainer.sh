#!/usr/bin/env bash
# Installs and starts the feature of development containers in a copy of this machine that is thrown away:
#   bash packaging/check-devcontainer.sh ADDRESS-OF-A-RELEASE
# Needs root, the executable in packaging/out, apt, curl and iproute2. Ends with exit code 1 at the first surprise.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "devcontainer: $*" >&2; exit 1; }

# The copy: changes of this mount namespace are in memory, and its processes end with it.
if [ -z "${SIDEKEY_CHECK_ROOT-}" ]; then
  work=$(mktemp -d)
  trap 'rmdir "$work"' EXIT
  SIDEKEY_CHECK_ROOT=$work unshare --mount --pid --fork --kill-child bash "$0" "$@"
  exit
fi
if [ "$SIDEKEY_CHECK_ROOT" != / ]; then
  mount -t tmpfs none "$SIDEKEY_CHECK_ROOT"
  cd "$SIDEKEY_CHECK_ROOT"
  mkdir upper work root
  mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
  mount -t proc proc root/proc
  mount --rbind /dev root/dev
  SIDEKEY_CHECK_ROOT=/ exec chroot root bash "$OLDPWD/packaging/$(basename "$0")" "$@"
fi

release=$1
name=sidekey-linux-$([ "$(uname -m)" = x86_64 ] && echo x64 || echo arm64)
sum=$(sed -n "s/  $name\$//p" packaging/out/SHA256SUMS)
log=$(mktemp)
install() {
  (cd deploy/devcontainer/sidekey && env RELEASE="$release" SHA256="0 $sum" ALLOWROOT=false _REMOTE_USER=coder "$@" ./install.sh) >"$log" 2>&1
}
refused() {
  local said=$1
  shift
  ! install "$@" || fail "installs, though: $said"
  grep -q "$said" "$log" || fail "says of '$said': $(cat "$log")"
  [ ! -e /usr/local/bin/sidekey ] || fail "installed, though: $said"
}

apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends sudo >/dev/null
useradd --create-home --shell /bin/bash coder
echo 'coder ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/coder
refused 'coder may use sudo'
echo 'coder ALL=(ALL) NOPASSWD: /bin/bash' >/etc/sudoers.d/coder
refused 'coder may use sudo'
install ALLOWROOT=true || fail "with allowRoot: $(cat "$log")"
userdel sidekey
rm -r /etc/sudoers.d/coder /usr/local/bin/sidekey /var/lib/sidekey
refused 'user of the container is root' _REMOTE_USER=root
refused 'no user later' _REMOTE_USER=later
refused 'option release' RELEASE=
refused 'option sha256 does not name' SHA256="$(printf %064d 0)"
refused 'cannot be downloaded' RELEASE="$release/none"
install || fail "$(cat "$log")"

# A network of its own: the port of this machine may be in use.
ip link >/dev/null
unshare --net bash -euo pipefail -s <<'SH' || fail 'the started container'
ip link set lo up
as() { runuser -u "$@"; }
# A program of the user in the PATH of the image is not started.
mkdir /opt/coder
printf '#!/bin/sh\ntouch /opt/coder/called\n' >/opt/coder/sleep
cp /opt/coder/sleep /opt/coder/runuser
chmod 0755 /opt/coder/*
chown -R 12345 /var/lib/sidekey
PATH=/opt/coder:$PATH /usr/local/share/sidekey/start.sh
[ ! -e /opt/coder/called ] || { echo 'start.sh starts programs of others'; exit 1; }

printf 'key-of-a-test-0123456789' | runuser -l sidekey -c 'sidekey connect openai --token --no-verify' >/dev/null 2>&1
runuser -l coder -c 'curl -fsS https://sidekey.internal/' | grep -q api.openai.com
runuser -l coder -c 'echo "$OPENAI_API_KEY$NODE_EXTRA_CA_CERTS"; cat "$NODE_EXTRA_CA_CERTS"' | grep -q 'BEGIN CERTIFICATE'
readable=$(find /var/lib/sidekey -type f | while read -r file; do ! as coder -- test -r "$file" || echo "$file"; done)
! grep -v '/certs/ca.crt$\|/certs/clients/' <<<"$readable" || { echo 'The user of the container can read these files.'; exit 1; }
process=$(pgrep -f -n 'sidekey start')
kill -0 "$process"
! as coder -- kill -0 "$process" 2>/dev/null || { echo 'The user of the container can signal Sidekey.'; exit 1; }
SH
echo 'devcontainer: installs the named executable for a user without root; starts as its own user; the files are closed to others'
