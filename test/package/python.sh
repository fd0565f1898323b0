#!/usr/bin/env bash
# Builds the Python SDK, installs it into an empty environment of each Python, and imports it.
set -euo pipefail
cd "$(dirname "$0")/../.."

npm run --silent sdk
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -a src/sdk/python "$work/source"
/usr/bin/python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet build==1.6.1 mypy==2.4.1 types-requests==2.33.0.20261030
# Makes the sdist, and the wheel from it.
"$work/venv/bin/python" -m build --outdir "$work" "$work/source" >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; exit 1; }
"$work/venv/bin/pip" install --quiet "$work"/sidekey-*.whl
cd "$work"
for python in /usr/bin/python3 "${SIDEKEY_TEST_PYTHONS:-/nonexistent}"/*/bin/python3; do
  [ -x "$python" ] || continue
  "$python" -m venv --clear installed
  installed/bin/pip install --quiet --disable-pip-version-check "$(echo sidekey-*.whl)[requests]"
  said=$(SIDEKEY_API_KEY=k installed/bin/python -c '
import sidekey, sidekey.requests
try:
    sidekey.Sidekey("http://127.0.0.1:9").remove_domain(host="x")
except sidekey.errors.UnreachableError as error:
    print(error.code)')
  [ "$said" = unreachable ] || { echo "$python: $said" >&2; exit 1; }
done

cat >program.py <<'PROGRAM'
from sidekey import Sidekey

lease = Sidekey().create_lease(agent="ci", grants=["github"], purpose="nightly report")
token: str = lease["token"]
Sidekey().create_lease(agen="ci")  # type: ignore[call-arg]
Sidekey().request("GET", "https://api.github.com/user", grant="github", timeout=900)
Sidekey().request("GET", "https://api.github.com/user", grunt="github")  # type: ignore[call-arg]
PROGRAM
venv/bin/mypy --strict --warn-unused-ignores program.py
for version in 3.10 3.14; do
  venv/bin/mypy --strict --python-version "$version" source/sidekey
done
