/** Ready lines for the programs that an agent may be. */

/** An agent or a lease, and the proxy that it calls. */
export interface Caller {
  /** URL of the proxy with the token. */
  readonly proxyUrl: string;
  /** Path of the CA certificate, on the machine of Sidekey. */
  readonly certificate: string;
  /** An address that the caller may call. */
  readonly url: string;
}

/** Steps for a program: texts, each with the place that it belongs to. */
interface SetUp {
  readonly title: string;
  readonly texts: readonly (readonly [place: string, text: string])[];
  /** A sentence about a limit. */
  readonly note?: string;
}

const terminal = 'In a terminal';

/** Returns the ready lines for each program. No argument has the token, because all users can read those. */
export function setUps({ proxyUrl, certificate, url }: Caller): readonly SetUp[] {
  // Not a URL if the port is chosen at the start: `http://ci:TOKEN@127.0.0.1:PORT`.
  const host = proxyUrl.slice(proxyUrl.indexOf('@') + 1);
  const isLocal = /^(?:127\.|localhost:|\[::1\])/.test(host);
  const variable = `export SIDEKEY_PROXY=${quoted(proxyUrl)}`;
  const confined = (title: string, command: string): SetUp => ({
    title,
    texts: [[terminal, `${variable}\nsidekey run --proxy env:SIDEKEY_PROXY -- ${command}`]],
  });
  const environment = `HTTPS_PROXY=${proxyUrl}
https_proxy=${proxyUrl}
HTTP_PROXY=${proxyUrl}
http_proxy=${proxyUrl}
NO_PROXY=localhost,127.0.0.1,::1,${host}
SSL_CERT_FILE=/trust/bundle.pem
CURL_CA_BUNDLE=/trust/bundle.pem
REQUESTS_CA_BUNDLE=/trust/bundle.pem
GIT_SSL_CAINFO=/trust/bundle.pem
NODE_EXTRA_CA_CERTS=/trust/extra.pem
NODE_USE_ENV_PROXY=1`;
  const file = ['sidekey.env, which only you can read', environment] as const;
  const trust = 'sidekey ca export --format folder --output trust';
  const network = isLocal ? ' --network host' : '';
  return [
    confined('Claude Code', 'claude'),
    confined('Codex', 'codex'),
    confined('Gemini CLI', 'gemini'),
    {
      title: 'Cursor',
      texts: [
        ...confined('', 'cursor-agent').texts,
        [
          'Or in settings.json of the editor',
          JSON.stringify({ 'http.proxy': proxyUrl, 'http.proxySupport': 'override' }, null, 2),
        ],
        ['Then, once', 'sidekey ca install'],
      ],
    },
    {
      title: 'curl',
      texts: [
        [
          terminal,
          `export HTTPS_PROXY=${quoted(proxyUrl)}\ncurl --cacert ${quoted(certificate)} ${quoted(url)}`,
        ],
      ],
    },
    {
      title: 'Docker',
      texts: [
        file,
        [
          terminal,
          `${trust}\ndocker run --rm${network} --env-file sidekey.env --volume "$PWD/trust:/trust:ro" IMAGE`,
        ],
      ],
    },
    {
      title: 'Compose',
      texts: [
        file,
        [terminal, trust],
        [
          'compose.yaml',
          `services:
  agent:
    image: IMAGE${isLocal ? '\n    network_mode: host' : ''}
    env_file: sidekey.env
    volumes: [./trust:/trust:ro]`,
        ],
      ],
    },
    {
      title: 'Kubernetes',
      texts: [
        file,
        [
          terminal,
          `${trust}
kubectl create secret generic sidekey-agent --from-env-file=sidekey.env
kubectl create configmap sidekey-trust --from-file=trust`,
        ],
        [
          'The pod',
          `spec:
  containers:
    - name: agent
      image: IMAGE
      envFrom: [{ secretRef: { name: sidekey-agent } }]
      volumeMounts: [{ name: trust, mountPath: /trust, readOnly: true }]
  volumes: [{ name: trust, configMap: { name: sidekey-trust } }]`,
        ],
      ],
      ...(isLocal
        ? { note: `A pod does not reach ${host}. Write the address of a gateway in its place.` }
        : {}),
    },
  ];
}

/** Returns a text as one word of a POSIX shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
