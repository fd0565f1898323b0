#!/usr/bin/env bash
# Starts Sidekey on the runner of a job, and gives the following steps a lease of the agent that the OIDC token of the job
# identifies. action.yml describes the inputs.
set -euo pipefail

fail() {
  echo "::error title=Sidekey::$*"
  exit 1
}

[ -n "${ACTIONS_ID_TOKEN_REQUEST_URL-}" ] ||
  fail 'The job gets no OIDC token. Give it permissions: { id-token: write, contents: read }'
if [ -n "$SIDEKEY_ACTION_RELEASE" ]; then
  program=$RUNNER_TEMP/sidekey-program
  PREFIX=$program sh "$GITHUB_ACTION_PATH/../../packaging/install.sh" "$SIDEKEY_ACTION_RELEASE"
  export PATH=$program/bin:$PATH
  echo "$program/bin" >>"$GITHUB_PATH"
fi
command -v sidekey >/dev/null || fail 'sidekey is not on the PATH. Install it, or name a release in the input release'

export SIDEKEY_HOME=$RUNNER_TEMP/sidekey
[ ! -e "$SIDEKEY_HOME" ] || fail "$SIDEKEY_HOME exists already. Use the action once in a job"
umask 077
mkdir -p "$SIDEKEY_HOME/config"
cp "$SIDEKEY_ACTION_CONFIG" "$SIDEKEY_HOME/config/sidekey.yaml"

# The environment of this step has secrets, and later steps can read that of a process for as long as it runs.
clean=(PATH="$PATH" SIDEKEY_HOME="$SIDEKEY_HOME")
# At the end of the job, the runner ends all processes that have its RUNNER_TRACKING_ID.
for name in HOME LANG TMPDIR RUNNER_TRACKING_ID; do [ -z "${!name-}" ] || clean+=("$name=${!name}"); done
env -i "${clean[@]}" nohup sidekey start --json </dev/null >"$SIDEKEY_HOME/started" 2>"$SIDEKEY_HOME/log" &
sidekey=$!
# Where a later command fails, no Sidekey stays.
trap '[ $? = 0 ] || kill $sidekey 2>/dev/null' EXIT
until [ -s "$SIDEKEY_HOME/started" ]; do
  kill -0 $sidekey 2>/dev/null || fail "Sidekey did not start: $(tr '\n' ' ' <"$SIDEKEY_HOME/log")"
  sleep 0.1
done
proxy=$(sed -n 's|.*"listen":{"host":"\([^"]*\)","port":\([0-9]*\)}.*|http://\1:\2|p' "$SIDEKEY_HOME/started")
# Without a token, every step would have the rights of all agents.
status=$(curl --silent --output /dev/null --write-out '%{http_code}' --noproxy '' --proxy "$proxy" http://sidekey.internal/ || true)
[ "$status" = 407 ] ||
  fail "The proxy does not ask callers for a token (status $status). Set proxy: { authentication: required } in the config"

# From a file: other programs can read arguments.
bash -euo pipefail /dev/fd/3 3<<<"$SIDEKEY_ACTION_SETUP"

# Fields with secrets come from standard input: other programs can read arguments.
token=$(curl --fail --silent --show-error --get --data-urlencode "audience=$SIDEKEY_ACTION_AUDIENCE" --header @- "$ACTIONS_ID_TOKEN_REQUEST_URL" \
  <<<"Authorization: bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" | sed -n 's/.*"value" *: *"\([^"]*\)".*/\1/p')
echo "::add-mask::$token"
agent=$(sidekey agent check --json <<<"$token" | sed -n 's/.*"agent" *: *"\([^"]*\)".*/\1/p')
variables=$(sidekey env --shell docker --agent "$agent" --ttl "$SIDEKEY_ACTION_TTL" --proxy "$proxy")
lease=$(grep -m 1 -o 'sidekey_lease_[^@]*' <<<"$variables")
echo "::add-mask::$lease"
printf '%s\n' "$variables" >>"$GITHUB_ENV"
printf 'agent=%s\nhome=%s\n' "$agent" "$SIDEKEY_HOME" >>"$GITHUB_OUTPUT"
