#!/usr/bin/env bash
# Builds the wheel of the Python SDK, installs it into an empty environment, and imports it.
set -euo pipefail
cd "$(dirname "$0")/../.."

npm run --silent sdk
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -a src/sdk/python "$work/source"
/usr/bin/python3 -m venv "$work/venv"
"$work/venv/bin/pip" wheel --quiet --no-deps --wheel-dir "$work" "$work/source"
"$work/venv/bin/pip" install --quiet "$work"/sidekey-*.whl
"$work/venv/bin/pip" install --quiet mypy==2.4.1
cd "$work"
said=$(SIDEKEY_API_KEY=k venv/bin/python -c '
import sidekey
try:
    sidekey.Sidekey("http://127.0.0.1:9").remove_domain(host="x")
except sidekey.SidekeyError as error:
    print(error.code)')
[ "$said" = unreachable ] || { echo "python: $said" >&2; exit 1; }

cat >program.py <<'PROGRAM'
from sidekey import Sidekey

lease = Sidekey().create_lease(agent="ci", grants=["github"], purpose="nightly report")
token: str = lease["token"]
Sidekey().create_lease(agen="ci")  # type: ignore[call-arg]
PROGRAM
venv/bin/mypy --strict --warn-unused-ignores program.py
venv/bin/mypy --strict source/sidekey
