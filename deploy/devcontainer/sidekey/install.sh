#!/bin/sh
# Installs Sidekey into the image of a development container. devcontainer-feature.json describes the options.
set -eu

fail() {
  echo "sidekey: $*" >&2
  exit 1
}

[ -n "$RELEASE" ] || fail 'give the option release, such as https://HOST/releases/0.1.0'
# Whoever may become root reads the credentials.
if [ "$ALLOWROOT" != true ]; then
  id "$_REMOTE_USER" >/dev/null || fail "the image has no user $_REMOTE_USER yet"
  [ "$(id -u "$_REMOTE_USER")" != 0 ] || fail 'the user of the container is root. Set remoteUser to another one, or the option allowRoot'
  # Also where it may run some commands alone: a shell may be among them.
  ! LC_ALL=C sudo -n -l -U "$_REMOTE_USER" 2>/dev/null | grep -q 'may run' ||
    fail "$_REMOTE_USER may use sudo. Remove /etc/sudoers.d/$_REMOTE_USER in the image, or set the option allowRoot"
fi

needed='ca-certificates curl libatomic1 libstdc++6'
# shellcheck disable=SC2086 # A list.
if command -v apt-get >/dev/null && ! dpkg --status $needed >/dev/null 2>&1; then
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $needed >/dev/null
  rm -rf /var/lib/apt/lists/*
fi

case $(uname -m) in
  x86_64) name=sidekey-linux-x64 ;;
  aarch64) name=sidekey-linux-arm64 ;;
  *) fail "there is no executable for $(uname -m)" ;;
esac
file=$(mktemp)
curl --fail --silent --show-error --location --proto-redir '=https' --output "$file" "${RELEASE%/}/$name" || fail "$RELEASE/$name cannot be downloaded"
actual=$(sha256sum "$file")
case " $SHA256 " in
  *" ${actual%% *} "*) ;;
  *) fail "$name has the checksum ${actual%% *}, which the option sha256 does not name" ;;
esac
install -m 0755 "$file" /usr/local/bin/sidekey
rm "$file"
sidekey --version >/dev/null || fail 'the executable does not run here: it needs the GNU C library, libstdc++ and libatomic'

useradd --system --user-group --home-dir /var/lib/sidekey --shell /bin/sh sidekey
install -d -o sidekey -g sidekey -m 0711 /var/lib/sidekey
install -m 0755 -D start.sh /usr/local/share/sidekey/start.sh
# Not containerEnv of the feature: that would be in force while the image is built, without a proxy.
cat >/etc/profile.d/sidekey.sh <<'SH'
[ ! -r /usr/local/share/sidekey/env.sh ] || . /usr/local/share/sidekey/env.sh
SH
