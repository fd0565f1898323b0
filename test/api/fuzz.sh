#!/usr/bin/env bash
# Fuzzes the API of a new installation by its OpenAPI document: no answer is a fault of the server, and each one is as the
# document says. The first argument is a Python with schemathesis.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
started=
trap '[ -z "$started" ] || kill "$started" 2>/dev/null; rm -rf "$work"' EXIT
export HOME=$work SIDEKEY_HOME=$work/sidekey
sidekey() { node src/sidekey.js "$@"; }

free() { node -e 'const server = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(server.address().port); server.close(); })'; }
api=http://127.0.0.1:$(free)
mkdir -p "$SIDEKEY_HOME/config"
cat >"$SIDEKEY_HOME/config/sidekey.yaml" <<CONFIG
version: 1
proxy: { listen: 127.0.0.1:$(free), unmatched: deny }
admin: { listen: ${api#http://} }
CONFIG
sidekey connect github --token --no-verify <<<ghp_0123456789abcdef0123456789abcdef0123 >/dev/null 2>&1
key=$(sidekey api-key create fuzz --role operator 2>/dev/null)
node src/sidekey.js start >"$work/log" 2>&1 &
started=$!
for _ in $(seq 100); do ! grep -q 'is running' "$work/log" || break; sleep 0.1; done

# The stream has no end, the doctor starts programs, and passkeys are for browsers.
# In the folder that is removed: schemathesis leaves one of its own.
(cd "$work" && "$1" -m schemathesis.cli run "$api/openapi.json" --header "X-API-Key: $key" --no-color \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
  --exclude-operation-id streamAuditEvents --exclude-operation-id runDoctor --exclude-tag Passkeys \
  --phases examples,coverage,fuzzing --max-examples 20 --seed 1 --continue-on-failure --warnings off \
  --request-timeout 20) >"$work/found" 2>&1 || { sed -n '/= FAILURES/,$p;/= ERRORS/,$p' "$work/found" | cut -c1-400 >&2; exit 1; }
grep -E '^Test cases:' -A1 "$work/found" | tail -n 1
kill -0 "$started"
