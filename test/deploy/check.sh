#!/usr/bin/env bash
# Validates the manifests of deploy/: the compose file by the reference implementation of its specification, those of Kubernetes
# by the schemas of its API, the chart by Helm, and each config in them by Sidekey. Needs go and python3. Argument: a file for
# the chart as test/image/manifests.ts runs it.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "deploy: $*" >&2; exit 1; }

export GOBIN=$work/bin GOFLAGS=-buildvcs=false
go install github.com/compose-spec/compose-go/v2/cmd@v2.16.2 2>"$work/go.log" || fail "$(tail -n 3 "$work/go.log")"
go install helm.sh/helm/v3/cmd/helm@v3.22.0 2>"$work/go.log" || fail "$(tail -n 3 "$work/go.log")"
/usr/bin/python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check kubernetes-validate==1.37.0

# Prints the config that a ConfigMap of a file has, and has Sidekey check it.
config_of() {
  node_modules/.bin/node -e '
    const { parseAllDocuments } = require("yaml");
    const all = parseAllDocuments(fs.readFileSync(process.argv[1], "utf8"), { merge: true }).map((it) => it.toJS());
    console.log(all.find((it) => it?.kind === "ConfigMap").data["sidekey.yaml"]);' "$1"
}
checked() {
  install -m 0600 "$1" "$work/sidekey.yaml"
  node_modules/.bin/node src/sidekey.js config check --config "$work/sidekey.yaml" >"$work/check.log" 2>&1 || fail "$2: $(cat "$work/check.log")"
}
valid() {
  for version in 1.30 1.33 1.37; do
    "$work/venv/bin/kubernetes-validate" -k "$version" --strict --quiet "$1" >"$work/valid.log" 2>&1 || fail "$2: $(cat "$work/valid.log")"
  done
}

"$work/bin/cmd" deploy/compose/compose.yaml >/dev/null || fail 'compose.yaml is not valid'
checked deploy/compose/config/sidekey.yaml compose
echo 'compose: valid by the specification, and its config by Sidekey'

valid deploy/kubernetes/sidecar.yaml sidecar
config_of deploy/kubernetes/sidecar.yaml >"$work/config"
checked "$work/config" sidecar
valid deploy/kubernetes/agent.yaml agent
echo 'kubernetes: valid in 1.30, 1.33 and 1.37, and its config by Sidekey'

helm() { "$work/bin/helm" "$@"; }
template() { helm template proxy deploy/helm/sidekey --namespace proxy --kube-version 1.33.0 "$@"; }
helm lint --strict --quiet deploy/helm/sidekey || fail 'helm lint'
full=(--set tls.secret=proxy-tls --set tls.clientCa=true --set-json 'config.proxy.tls.agents={"ci":"spiffe://acme.test/ci"}'
  --set autoscaling.enabled=true --set serviceMonitor.enabled=true --set serviceMonitor.url=https://sidekey.acme.test:8378
  --set-json 'agents=[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"agents"}}}]')
for values in plain full; do
  arguments=()
  [ "$values" = plain ] || arguments=("${full[@]}")
  template "${arguments[@]}" >"$work/$values.yaml" || fail "the chart with the $values values"
  valid "$work/$values.yaml" "the chart with the $values values"
  config_of "$work/$values.yaml" >"$work/config"
  checked "$work/config" "the chart with the $values values"
done
grep -q 'preStop: { sleep: { seconds: 10 } }' "$work/plain.yaml" || fail 'a pod leaves without a pause'
! template --set replicaz=3 >/dev/null 2>&1 || fail 'the chart takes a value that it does not know'
! template --set tls.clientCa=true >/dev/null 2>&1 || fail 'the chart takes tls.clientCa without a certificate'
! template --set serviceMonitor.enabled=true --set serviceMonitor.url=https://x >/dev/null 2>&1 || fail 'the chart shows figures without TLS'
[ "$(sed -n 's/^appVersion: //p' deploy/helm/sidekey/Chart.yaml)" = "$(node -p 'require("./package.json").version')" ] || fail 'the chart is for another version'
# With the agent of agent.yaml, by a key set in the place of that of the cluster.
issuers='{"cluster":{"issuer":"https://kubernetes.default.svc.cluster.local","audience":"sidekey.example.com","jwks":"/secrets/keys.json","agents":{"runner":{"subject":"system:serviceaccount:agents:runner"}}}}'
template --set-json "config.agent_issuers=$issuers" --set config.store='postgres://sidekey@/sidekey?host=/run/postgresql' --set-json 'config.domains={"api.github.com":{"grant":"github"}}' \
  >"$1" 2>/dev/null
echo 'helm: lint and templates pass, unknown values are refused, the configs are valid'
