#!/bin/sh
# Installs the executable of Sidekey, after it has compared its checksum:
#   sh install.sh https://HOST/PATH/OF/A/RELEASE
# The address is that of the folder with SHA256SUMS and the executables. PREFIX is the place (default: ~/.local).
set -eu

fail() {
  echo "install: $*" >&2
  exit 1
}

[ $# = 1 ] || fail 'give the address of a release, such as https://HOST/releases/0.1.0'
base=${1%/}
case $base in
  https://* | http://127.0.0.1:*) ;;
  *) fail 'the address must begin with https://' ;;
esac
prefix=${PREFIX:-$HOME/.local}

case $(uname -s) in
  Linux) system=linux ;;
  Darwin) system=darwin ;;
  *) fail "there is no executable for $(uname -s): npm install -g sidekey" ;;
esac
case $(uname -m) in
  x86_64 | amd64) machine=x64 ;;
  aarch64 | arm64) machine=arm64 ;;
  *) fail "there is no executable for $(uname -m): npm install -g sidekey" ;;
esac
name=sidekey-$system-$machine

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
get() {
  curl --fail --silent --show-error --location --proto-redir '=https' --output "$folder/$1" "$base/$1" ||
    fail "$base/$1 cannot be downloaded"
}
get SHA256SUMS
expected=$(sed -n "s/^\([0-9a-f]\{64\}\)  $name\$/\1/p" "$folder/SHA256SUMS")
[ -n "$expected" ] || fail "the release has no $name: npm install -g sidekey"
get "$name"
if command -v sha256sum >/dev/null; then
  actual=$(sha256sum "$folder/$name")
else
  actual=$(shasum -a 256 "$folder/$name")
fi
[ "${actual%% *}" = "$expected" ] || fail "$name is not the file that SHA256SUMS names; nothing was installed"

mkdir -p "$prefix/bin"
chmod 0755 "$folder/$name"
# A running executable cannot be written, but replaced. It is tried first, in its folder, because programs may not run in /tmp.
new=$prefix/bin/.sidekey.new
mv "$folder/$name" "$new"
version=$("$new" --version 2>&1) || {
  rm -f "$new"
  fail "the executable does not run here; nothing was installed: $version
  → on Linux it needs the GNU C library, libstdc++ and libatomic (Debian and Ubuntu: apt-get install libstdc++6 libatomic1)"
}
mv "$new" "$prefix/bin/sidekey"
echo "Installed $version as $prefix/bin/sidekey."
case :$PATH: in
  *:"$prefix/bin":*) ;;
  *) echo "Add $prefix/bin to your PATH." ;;
esac
echo 'Next: sidekey init. To uninstall: remove that file; docs/upkeep.md has the rest.'
