#!/usr/bin/env bash
# Builds the image of the Dockerfile and runs it: a real container, from a base that debootstrap makes of Debian's packages.
# Needs root, debootstrap, buildah, podman, crun, ip and PostgreSQL. Prints what was checked, and ends with exit code 1 at the first surprise.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
# PostgreSQL runs as nobody.
chmod 0711 "$work"
store=(--root "$work/store" --runroot "$work/run" --storage-driver vfs)
podman() { command podman "${store[@]}" --cgroup-manager cgroupfs --runtime crun "$@"; }

# A machine with both kinds of cgroups confuses crun: in here there is one kind.
if [ -z "${SIDEKEY_IMAGE_INSIDE-}" ]; then
  SIDEKEY_IMAGE_INSIDE=1 exec unshare --mount bash "$0" "$@"
fi
umount --recursive /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup

finish() {
  podman rm --force --all --time 5 >/dev/null 2>&1 || true
  command buildah "${store[@]}" rm --all >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT
fail() { echo "image: $*" >&2; exit 1; }

# The base: Debian's packages, and the npm and trust anchors of this machine, which may be the only ones that reach a registry.
mirror=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' | sed -n '/^Debian /{s///p;q}')
. /etc/os-release
debootstrap --variant=minbase --include=ca-certificates,binutils,libatomic1,libstdc++6 "$VERSION_CODENAME" "$work/base" "$mirror" >"$work/debootstrap.log" ||
  fail "debootstrap failed: $(tail -n 3 "$work/debootstrap.log")"
node=$(readlink -f "$(command -v node)")
npm=$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")
install -D "$node" "$work/base/usr/bin/node"
mkdir -p "$work/base/usr/lib/node_modules"
cp -a "$npm" "$work/base/usr/lib/node_modules/npm"
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$work/base/usr/bin/npm"
rm "$work/base/etc/apt/sources.list"
cp -a /etc/apt/. "$work/base/etc/apt/"
cp -L /etc/ssl/certs/ca-certificates.crt "$work/base/etc/ssl/certs/ca-certificates.crt"
[ ! -f "$HOME/.npmrc" ] || cp "$HOME/.npmrc" "$work/base/root/.npmrc"
printf 'FROM scratch\nADD base /\nENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt npm_config_registry=%s npm_config_cafile=/etc/ssl/certs/ca-certificates.crt\n' "$(npm config get registry 2>/dev/null)" >"$work/Base"
build() { command buildah "${store[@]}" build --isolation chroot --format docker --quiet "$@"; }
build --tag sidekey-base --file "$work/Base" "$work" >/dev/null
build --build-arg BUILD=localhost/sidekey-base --tag sidekey . >/dev/null

# What the package has and the image lacks fails at the first request that needs it.
in_package() { npm pack --dry-run --json --ignore-scripts 2>/dev/null | node -p 'JSON.parse(fs.readFileSync(0))[0].files.map((it) => it.path).filter((path) => !/^dist\/|^man\/|^[A-Z]+[.]md$|^llms/.test(path)).sort().join("\n")'; }
image=$(podman image mount localhost/sidekey 2>/dev/null)
for file in $(in_package); do [ -e "$image/app/$file" ] || fail "the image lacks $file, which the package has: see .dockerignore"; done
podman image unmount localhost/sidekey >/dev/null

bytes=$(podman image inspect --format '{{.Size}}' localhost/sidekey)
echo "size: $((bytes / 1000000)) MB"
[ "$bytes" -le 150000000 ] || fail 'the image has more than 150 MB'

install -d -m 0700 -o 1000 -g 1000 "$work/data"
# Without cgroups and on the network of the host, because a machine for tests may allow nothing else.
podman run --detach --name sidekey --network host --cgroups=disabled --ulimit nofile=4096:4096 --ulimit nproc=1000:1000 \
  --read-only --cap-drop ALL --security-opt no-new-privileges --volume "$work/data:/data" localhost/sidekey >/dev/null 2>"$work/podman.log" || fail "podman: $(cat "$work/podman.log")"
for _ in $(seq 100); do
  ! podman healthcheck run sidekey >/dev/null 2>&1 || break
  sleep 0.1
done
podman healthcheck run sidekey || fail "not healthy: $(podman logs sidekey 2>&1 | tail -n 5)"
echo 'health check: passed, by busybox'

in_container() { podman exec sidekey "$@"; }
in_container sidekey --version || fail 'sidekey does not start in it'
in_container sidekey domain list --json >/dev/null || fail 'its config is not valid'
printf 'sk-test-0123456789abcdef' | podman exec --interactive sidekey sidekey connect openai --token --no-verify --json >/dev/null ||
  fail 'a credential does not get in'
in_container sidekey grant list --json | grep -q '"openai"' || fail 'the grant is not there'
echo 'a credential gets in: podman exec -i sidekey sidekey connect openai --token'
[ "$(podman exec sidekey /bin/busybox id -u)" = 1000 ] || fail 'it runs as root'
! podman exec sidekey /bin/busybox touch /app/x 2>/dev/null || fail 'its root can be written'
[ -z "$(podman exec sidekey /bin/busybox find / -xdev -perm /6000 -type f 2>/dev/null)" ] || fail 'it has setuid files'
answer=$(curl -sS -o /dev/null -w '%{http_connect}' -x http://127.0.0.1:8377 https://unlisted.example/ 2>/dev/null || true)
[ "$answer" = 403 ] || fail "an unlisted host is answered with $answer, and not refused"
echo 'an unlisted host is refused'
# The files of deploy/, run: see manifests.ts.
node_modules/.bin/node test/image/manifests.ts "$work/manifests" podman "${store[@]}" --cgroup-manager cgroupfs --runtime crun || fail 'the manifests'
podman stop --time 20 sidekey >/dev/null
[ "$(podman inspect --format '{{.State.ExitCode}}' sidekey)" = 0 ] || fail 'it does not end by itself'
echo 'image: all checks passed'
