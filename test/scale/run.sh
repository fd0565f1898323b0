#!/usr/bin/env bash
# Three nodes in network namespaces, in a network without any way out.
# SIDEKEY_SCALE_ROUNDS=100 bash test/scale/run.sh repeats as often; further arguments go to vitest.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ "$(id -u)" != 0 ]; then
  echo 'skipped: network namespaces need root'
  exit 0
fi
for program in unshare nsenter ip; do
  PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null || { echo "skipped: $program is missing (Debian packages util-linux and iproute2)"; exit 0; }
done
unshare --net "$(PATH="$PATH:/usr/sbin" command -v ip)" link add name veth-a type veth peer name veth-b 2>/dev/null || { echo 'skipped: this machine permits no network namespaces'; exit 0; }
# Files of a cache in the tree would be those of root.
export PATH="$PWD/node_modules/.bin:$PATH:/usr/sbin" SIDEKEY_SCALE=1 NODE_DISABLE_COMPILE_CACHE=1
exec unshare --net bash -c 'ip link set lo up && exec vitest run --project scale "$@"' bash "$@"
