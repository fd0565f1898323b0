#!/usr/bin/env bash
# Makes packaging/out/sidekey_VERSION_ARCH.deb of the executable, with the man page and the completions. Needs dpkg-deb.
set -euo pipefail
cd "$(dirname "$0")/.."

arch=$(dpkg --print-architecture)
version=$(node -p 'require("./package.json").version')
mail=${DEBEMAIL:-sidekey@localhost}
executable=packaging/out/sidekey-linux-$(node -p process.arch)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 0755 "$root"

install -D -m 0755 "$executable" "$root/usr/bin/sidekey"
put() { install -D -m 0644 "$1" "$root/usr/share/$2"; }
for shell in bash:bash-completion/completions/sidekey zsh:zsh/vendor-completions/_sidekey fish:fish/vendor_completions.d/sidekey.fish; do
  HOME=$root "$executable" completion "${shell%%:*}" | put /dev/stdin "${shell#*:}"
done
gzip -9n <man/sidekey.1 | put /dev/stdin man/man1/sidekey.1.gz
gzip -9n <<CHANGELOG | put /dev/stdin doc/sidekey/changelog.gz
sidekey ($version) unstable; urgency=medium

  * Release $version. CHANGELOG.md in the source repository has the changes.

 -- Sidekey developers <$mail>  $(date --utc --date="@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}" -R)
CHANGELOG
{
  echo 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/'
  printf '\nFiles: *\nCopyright: 2026 Sidekey developers\nLicense: Apache-2.0\n On Debian systems, the text is in /usr/share/common-licenses/Apache-2.0.\n'
  printf '\nFiles: usr/bin/sidekey\nCopyright: Node.js contributors, and the authors of the libraries named below\nLicense: MIT and others\n'
  sed 's/^[[:space:]]*$/./; s/^/ /' packaging/out/LICENCES.txt
} | put /dev/stdin doc/sidekey/copyright
put /dev/stdin lintian/overrides/sidekey <<'OVERRIDES'
# Node.js is inside of the executable, with the libraries that it brings.
sidekey: embedded-library
sidekey: hardening-no-pie
sidekey: spelling-error-in-binary
# One of several programs that are tried.
sidekey: missing-depends-on-sensible-utils
# node-forge can be used under the BSD license instead.
sidekey: copyright-file-contains-full-gpl-license
# The licence texts of Node.js and of what is in it are passed on as they are.
sidekey: copyright-file-contains-full-apache-2-license
sidekey: old-fsf-address-in-copyright-file
# DEBEMAIL is the address of who publishes the package.
sidekey: bogus-mail-host
sidekey: bogus-mail-host-in-debian-changelog
# The package is built outside of Debian.
sidekey: initial-upload-closes-no-bugs
OVERRIDES
mkdir "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<CONTROL
Package: sidekey
Version: $version
Architecture: $arch
Maintainer: Sidekey developers <$mail>
Section: net
Priority: optional
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: libc6 (>= 2.28), libstdc++6, libgcc-s1, libatomic1, ca-certificates
Description: proxy that adds credentials to the requests of AI agents
 Sidekey is a local forward HTTP proxy. It keeps credentials in an encrypted
 store, and adds them to the requests of programs that hold none.
CONTROL
deb=packaging/out/sidekey_${version}_$arch.deb
dpkg-deb --root-owner-group --build "$root" "$deb" >/dev/null
echo "$deb"
