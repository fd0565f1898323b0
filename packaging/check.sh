#!/usr/bin/env bash
# Builds the executable, the .deb and the formula, and tries each: `npm run build && bash packaging/check.sh`. Needs root for
# the .deb, and curl, python3, lintian, shellcheck and ruby. Prints what was checked; ends with exit code 1 at the first surprise.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT
fail() { echo "packaging: $*" >&2; exit 1; }
export HOME=$work/home
mkdir "$HOME" "$work/project"

shellcheck --severity=warning packaging/*.sh deploy/*/*.sh deploy/*/*/*.sh || fail 'shellcheck'
npm run --silent executable
out=packaging/out
name=sidekey-linux-$(node -p process.arch)
version=$(node -p 'require("./package.json").version')
for part in undici 'OpenSSL' 'V8'; do grep -q "$part" "$out/LICENCES.txt" || fail "no licence of $part"; done
(cd "$out" && sha256sum --quiet --check SHA256SUMS) || fail 'a checksum is wrong'
grep -q '"CycloneDX"' "$out/sidekey.cdx.json" && grep -q 'node-forge' "$out/sidekey.cdx.json" || fail 'the bill of materials is incomplete'

# The commands that start the program again, or read its files.
try() {
  export SIDEKEY_HOME=$work/state
  rm -rf "$SIDEKEY_HOME"
  [ "$("$1" --version)" = "$version" ] || fail "$1 --version"
  # With curl, and with the demo's own client.
  for path in "$PATH" /nonexistent; do
    PATH=$path "$1" demo --once >"$work/log" 2>&1 || fail "$1 demo: $(tail -n 5 "$work/log")"
    grep -q 'chain of .* intact' "$work/log" || fail "$1 demo: $(tail -n 5 "$work/log")"
  done
  "$1" provider show github | grep -q api.github.com || fail "$1 provider show"
  printf 'github_pat_0123456789012345678901234567890123456789' | "$1" connect github --token --no-verify >/dev/null 2>&1 || fail "$1 connect"
  code=0
  said=$(cd "$work/project" && "$1" run --quiet -- sh -c 'echo "$GITHUB_TOKEN"; exit 7') || code=$?
  [[ $code = 7 && $said == ghp_sidekey* ]] || fail "$1 run: exit code $code, $said"
  sed -i 's/^  listen: .*/  listen: 127.0.0.1:0/' "$SIDEKEY_HOME/config/sidekey.yaml"
  printf '\nworkers: 2\n' >>"$SIDEKEY_HOME/config/sidekey.yaml"
  "$1" start >"$work/log" 2>&1 &
  local started=$!
  for _ in $(seq 100); do ! grep -q 'is running' "$work/log" || break; sleep 0.1; done
  grep -q '2 processes' "$work/log" || fail "$1 start: $(cat "$work/log")"
  kill -TERM "$started"
  wait "$started" || fail "$1 start ends with $?"
  unset SIDEKEY_HOME
}
# A confined command of root has no capabilities: it reaches no folder that another user has for itself, such as this one.
cp "$out/$name" "$work/"
try "$work/$name"
echo "executable: $(($(stat -c %s "$out/$name") / 1000000)) MB; demo, connect, run and two workers work"

# The time of the executable beside that of the package.
node_modules/.bin/node --input-type=module - "$out/$name" <<'JS' || fail 'the executable starts more slowly than 1.2 times the package'
import { spawnSync } from 'node:child_process';
const ways = [[process.argv[2]], [process.execPath, 'dist/sidekey.js']];
const times = [[], []];
for (let round = 0; round < 15; round += 1) {
  for (const [index, [program, ...args]] of ways.entries()) {
    const began = performance.now();
    spawnSync(program, [...args, 'status', '--json']);
    times[index].push(performance.now() - began);
  }
}
const [executable, built] = times.map((each) => each.toSorted((a, b) => a - b)[7]);
console.log(`status: ${executable.toFixed(0)} ms as executable, ${built.toFixed(0)} ms as package (${(executable / built).toFixed(2)} ×)`);
process.exitCode = executable > 1.2 * built ? 1 : 0;
JS

# The installer, against a server of this machine: right, cut, changed, incomplete, one that does not run.
python3 -u -m http.server --bind 127.0.0.1 --directory "$work" 0 >"$work/server" 2>&1 &
server=$!
until grep -q 'port' "$work/server"; do sleep 0.1; done
port=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' "$work/server" | head -n 1)
mkdir "$work/right" "$work/cut" "$work/changed" "$work/other" "$work/broken" "$work/uname"
cp "$out/$name" "$out/SHA256SUMS" "$work/right/"
cp "$out/SHA256SUMS" "$work/cut/"
head -c 1000000 "$out/$name" >"$work/cut/$name"
cp "$out/SHA256SUMS" "$out/$name" "$work/changed/"
printf x | dd of="$work/changed/$name" bs=1 seek=1000000 conv=notrunc status=none
printf '#!/bin/sh\necho libatomic.so.1 is missing >&2\nexit 127\n' >"$work/broken/$name"
(cd "$work/broken" && sha256sum "$name" >SHA256SUMS)
echo "$(printf %064d 0)  sidekey-plan9-x64" >"$work/other/SHA256SUMS"
for case in cut:SHA256SUMS changed:SHA256SUMS broken:'libatomic.so.1 is missing' other:'has no' missing:'cannot be downloaded'; do
  ! PREFIX=$work/prefix sh packaging/install.sh "http://127.0.0.1:$port/${case%%:*}" >"$work/log" 2>&1 || fail "the installer accepts: ${case%%:*}"
  grep -q "${case#*:}" "$work/log" || fail "the installer says of ${case%%:*}: $(cat "$work/log")"
  [ -z "$(find "$work/prefix" -type f 2>/dev/null)" ] || fail "the installer wrote, though: ${case%%:*}"
done
printf '#!/bin/sh\necho Plan9\n' >"$work/uname/uname"
chmod 0755 "$work/uname/uname"
! PATH=$work/uname:$PATH PREFIX=$work/prefix sh packaging/install.sh "http://127.0.0.1:$port/right" >"$work/log" 2>&1 || fail 'the installer accepts an unknown system'
grep -q 'no executable for Plan9' "$work/log" || fail "the installer says of an unknown system: $(cat "$work/log")"
PREFIX=$work/prefix sh packaging/install.sh "http://127.0.0.1:$port/right" >/dev/null || fail 'the installer'
[ "$("$work/prefix/bin/sidekey" --version)" = "$version" ] || fail 'the installed executable'
echo 'install.sh: installs the right file; refuses a cut, a changed and a missing one, one without a checksum, one that does not run, and an unknown system'

npm run --silent formula -- https://example.com/releases/0 >"$work/sidekey.rb" && ruby -c "$work/sidekey.rb" >/dev/null || fail 'the formula'
grep -q "$(sha256sum "$out/$name" | cut -d' ' -f1)" "$work/sidekey.rb" || fail 'the formula has another checksum'
echo 'formula: valid Ruby, with the checksum'

if [ "$(id -u)" = 0 ]; then
  bash packaging/check-devcontainer.sh "http://127.0.0.1:$port/right"
fi

deb=$(bash packaging/deb.sh)
lintian --fail-on error,warning "$deb" 2>/dev/null || fail 'lintian'
if [ "$(id -u)" = 0 ]; then
  [ ! -e /usr/bin/sidekey ] || fail 'sidekey is installed here'
  apt-get -qq install -y "./$deb" >/dev/null 2>"$work/log" || fail "the .deb: $(cat "$work/log")"
  try /usr/bin/sidekey
  man -w sidekey >/dev/null || fail 'the man page of the .deb'
  dpkg --purge sidekey >/dev/null
  [ ! -e /usr/bin/sidekey ] && [ ! -e /usr/share/doc/sidekey ] || fail 'the .deb leaves files'
  echo ".deb: $(($(stat -c %s "$deb") / 1000000)) MB; lintian is content, installed, tried, removed"
fi
