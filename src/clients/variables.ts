import { isIPv6 } from 'node:net';
import type { Domain, DomainPattern } from '../proxy/policy/domain-map.ts';
import { javaOptions } from './java.ts';

/**
 * The variables for the proxy and its CA. `run` and `env` set them; `programs.ts` lists the programs that
 * need them.
 */

/**
 * The value of a variable.
 *
 * - `proxy`: the proxy's URL, with the user information of a lease in it.
 * - `no-proxy`: the hosts that are called directly, those of the parent first.
 * - `extra`: a PEM file that is added to the program's own roots: our CA, and what the parent had there.
 * - `bundle`: a PEM file that replaces the program's own roots: the machine's, the parent's, and our CA.
 * - `java`: options for the JVM, behind those that are there.
 * - `node`: options of Node.js, behind those that are there.
 * - `php`: a folder with an ini file, behind those that are there.
 * - `wget`: a file of settings.
 * - `hg`: files of settings, ours behind those that are there.
 * - `apt`: a file of settings, which takes in the one that is there.
 * - `kube`: files of settings, ours in front of those that are there.
 * - `git`: the number of git settings in variables, with ours in two further variables.
 * - `{ text }`: this.
 */
export type VariableValue =
  | 'proxy'
  | 'no-proxy'
  | 'extra'
  | 'bundle'
  | 'java'
  | 'node'
  | 'php'
  | 'wget'
  | 'hg'
  | 'apt'
  | 'kube'
  | 'git'
  | { readonly text: string };

export interface ClientVariable {
  readonly name: string;
  readonly value: VariableValue;
  /** A sentence: its readers, and its use. */
  readonly why: string;
  /**
   * True if it is set only if the parent has it: it takes precedence over the usual variable, and would
   * bypass Sidekey.
   */
  readonly onlyIfSet?: true;
  /** System that has this variable; absent: every system. */
  readonly onlyOn?: NodeJS.Platform;
}

/** The variables in display order. A comment gives the source if `why` does not. */
export const variables = [
  { name: 'HTTPS_PROXY', value: 'proxy', why: 'The proxy for https, for nearly every program.' },
  {
    name: 'https_proxy',
    value: 'proxy',
    why: 'The same in lower case, the only one that wget, gRPC and others read.',
  },
  // curl reads only the lower case: a CGI server sets HTTP_PROXY from the Proxy field of a request, so a
  // visitor can misdirect a program that reads it (httpoxy, CVE-2016-5385). Our variable adds no such risk.
  { name: 'HTTP_PROXY', value: 'proxy', why: 'The proxy for plain http.' },
  {
    name: 'http_proxy',
    value: 'proxy',
    why: 'The same in lower case, the only one that curl and wget read.',
  },
  { name: 'ALL_PROXY', value: 'proxy', onlyIfSet: true, why: 'The proxy for all other protocols.' },
  { name: 'all_proxy', value: 'proxy', onlyIfSet: true, why: 'The same in lower case.' },
  {
    name: 'WSS_PROXY',
    value: 'proxy',
    onlyIfSet: true,
    why: 'The proxy for WebSockets, for a few programs.',
  },
  { name: 'wss_proxy', value: 'proxy', onlyIfSet: true, why: 'The same in lower case.' },
  { name: 'NO_PROXY', value: 'no-proxy', why: 'The hosts that are not proxied.' },
  { name: 'no_proxy', value: 'no-proxy', why: 'The same in lower case.' },

  // OpenSSL: SSL_CTX_set_default_verify_paths(3). Go: crypto/x509 root_unix.go. rustls-native-certs: README.
  {
    name: 'SSL_CERT_FILE',
    value: 'bundle',
    why: 'The roots of OpenSSL, and so of Ruby, Perl, PHP streams, httpx and .NET on Linux; of Go on Linux; of Rust; of uv.',
  },
  { name: 'CURL_CA_BUNDLE', value: 'bundle', why: 'The roots of curl, of requests in Python and of R.' },

  // https://nodejs.org/api/cli.html
  {
    name: 'NODE_USE_ENV_PROXY',
    value: { text: '1' },
    why: 'Makes fetch and http of Node.js read the proxy variables (22.21, 24.5 and later).',
  },
  {
    name: 'NODE_OPTIONS',
    value: 'node',
    why: 'Loads a file that makes fetch and http of older versions of Node.js read the proxy variables, and in later versions the agents that programs create.',
  },
  { name: 'NODE_EXTRA_CA_CERTS', value: 'extra', why: 'Additional roots of Node.js and Bun.' },
  // https://docs.deno.com/runtime/reference/env_variables/
  { name: 'DENO_CERT', value: 'extra', why: 'Additional roots of Deno.' },
  // npm reads its settings from variables in either case, and `npm run` sets the lower one for its scripts.
  { name: 'NPM_CONFIG_CAFILE', value: 'bundle', why: 'The roots of npm and pnpm.' },
  {
    name: 'npm_config_cafile',
    value: 'bundle',
    onlyIfSet: true,
    why: 'The same in lower case, as npm run sets it.',
  },
  {
    name: 'npm_config_proxy',
    value: 'proxy',
    onlyIfSet: true,
    why: 'The proxy of npm; overrides HTTP_PROXY.',
  },
  {
    name: 'npm_config_https_proxy',
    value: 'proxy',
    onlyIfSet: true,
    why: 'The proxy of npm; overrides HTTPS_PROXY.',
  },
  {
    name: 'NPM_CONFIG_PROXY',
    value: 'proxy',
    onlyIfSet: true,
    why: 'The proxy of npm; overrides HTTP_PROXY.',
  },
  {
    name: 'NPM_CONFIG_HTTPS_PROXY',
    value: 'proxy',
    onlyIfSet: true,
    why: 'The proxy of npm; overrides HTTPS_PROXY.',
  },
  // Each setting is a variable (https://yarnpkg.com/configuration/yarnrc). Some versions ignore HTTPS_PROXY.
  { name: 'YARN_HTTPS_CA_FILE_PATH', value: 'bundle', why: 'The roots of Yarn 3 and later.' },
  { name: 'YARN_HTTPS_PROXY', value: 'proxy', why: 'The proxy of Yarn for https.' },
  { name: 'YARN_HTTP_PROXY', value: 'proxy', why: 'The proxy of Yarn for plain http.' },

  {
    name: 'REQUESTS_CA_BUNDLE',
    value: 'bundle',
    why: 'The roots of requests in Python, and of libraries that use it.',
  },
  { name: 'PIP_CERT', value: 'bundle', why: 'The roots of pip.' },
  { name: 'PIP_PROXY', value: 'proxy', onlyIfSet: true, why: 'The proxy of pip; overrides HTTPS_PROXY.' },
  {
    name: 'HTTPLIB2_CA_CERTS',
    value: 'bundle',
    why: 'The roots of httplib2, and so of older Google clients in Python.',
  },
  { name: 'AWS_CA_BUNDLE', value: 'bundle', why: 'The roots of the AWS command line and of boto3.' },
  { name: 'CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE', value: 'bundle', why: 'The roots of gcloud.' },

  // With the default `anyauth`, the first request of git has no password (git-config(1),
  // http.proxyAuthMethod). A proxy with optional tokens would accept it as a request of no agent.
  { name: 'GIT_SSL_CAINFO', value: 'bundle', why: 'The roots of git over https.' },
  {
    name: 'GIT_HTTP_PROXY_AUTHMETHOD',
    value: { text: 'basic' },
    why: 'Makes git send its proxy token with the first request.',
  },
  {
    name: 'GIT_TERMINAL_PROMPT',
    value: { text: '0' },
    why: 'Makes git fail instead of asking for a password.',
  },

  // git-config(1), GIT_CONFIG_COUNT and http.schannelCheckRevoke. With Schannel, git and Cargo refuse a
  // certificate whose revocation cannot be checked (decision 141).
  {
    name: 'GIT_CONFIG_COUNT',
    value: 'git',
    onlyOn: 'win32',
    why: 'Makes git on Windows accept certificates of Sidekey, which name no list of revoked ones.',
  },

  // https://doc.rust-lang.org/cargo/reference/config.html#httpcainfo
  { name: 'CARGO_HTTP_CAINFO', value: 'bundle', why: 'The roots of Cargo.' },
  {
    name: 'CARGO_HTTP_PROXY',
    value: 'proxy',
    why: 'The proxy of Cargo, also where its config file names another.',
  },
  {
    name: 'CARGO_HTTP_CHECK_REVOKE',
    value: { text: 'false' },
    onlyOn: 'win32',
    why: 'Makes Cargo on Windows accept certificates of Sidekey, which name no list of revoked ones.',
  },

  {
    name: 'JAVA_TOOL_OPTIONS',
    value: 'java',
    why: 'Trust store and proxy of every JVM. The JVM prints it to stderr when it starts; no secret is in it.',
  },
  // https://www.php.net/manual/en/configuration.file.php: an empty part means the built-in folder.
  {
    name: 'PHP_INI_SCAN_DIR',
    value: 'php',
    why: 'A folder with curl.cainfo and openssl.cafile, after the usual one.',
  },
  // LWP::UserAgent(3pm), env_proxy and ssl_opts.
  { name: 'PERL_LWP_ENV_PROXY', value: { text: '1' }, why: 'Makes LWP of Perl read the proxy variables.' },
  { name: 'PERL_LWP_SSL_CA_FILE', value: 'bundle', why: 'The roots of LWP of Perl.' },
  // Mojo::UserAgent::Proxy(3pm), detect: only where this is set.
  {
    name: 'MOJO_PROXY',
    value: { text: '1' },
    why: 'Makes Mojolicious of Perl read the proxy variables.',
  },
  // https://docs.julialang.org/en/v1/stdlib/NetworkOptions/
  { name: 'JULIA_SSL_CA_ROOTS_PATH', value: 'bundle', why: 'The roots of Julia.' },
  // https://hexdocs.pm/hex/Mix.Tasks.Hex.Config.html
  { name: 'HEX_CACERTS_PATH', value: 'bundle', why: 'The roots of Hex, of Elixir and Erlang.' },
  // https://nix.dev/manual/nix/latest/command-ref/conf-file
  { name: 'NIX_SSL_CERT_FILE', value: 'bundle', why: 'The roots of Nix, and of programs from it.' },
  // https://github.com/grpc/grpc/blob/master/doc/environment_variables.md, and the same of grpc-node.
  {
    name: 'GRPC_DEFAULT_SSL_ROOTS_FILE_PATH',
    value: 'bundle',
    why: 'The roots of gRPC in C++, Python, Ruby, PHP, C# and Node.js.',
  },
  { name: 'grpc_proxy', value: 'proxy', onlyIfSet: true, why: 'The proxy of gRPC; overrides https_proxy.' },
  // Wget manual, "Wgetrc Location"; measured with 1.21.3. The usual wget, with GnuTLS, ignores SSL_CERT_FILE;
  // a wget with OpenSSL reads it.
  { name: 'WGETRC', value: 'wget', why: 'Settings of wget with its roots, unless you have your own.' },
  // hg help config.web; order of files: hg help environment. Mercurial prefers certifi to SSL_CERT_FILE.
  { name: 'HGRCPATH', value: 'hg', why: 'Settings of Mercurial with its roots, after the usual ones.' },
  // apt-transport-https(1); apt.conf(5) on APT_CONFIG.
  {
    name: 'APT_CONFIG',
    value: 'apt',
    why: 'Settings of apt with its roots for https; includes the previous file.',
  },
  // kubectl and Helm merge these files; the first one that has an entry decides.
  {
    name: 'KUBECONFIG',
    value: 'kube',
    why: 'Roots of the clusters that are in the domain map, before the usual files.',
  },
] as const satisfies readonly ClientVariable[];

export type VariableName = (typeof variables)[number]['name'];

/** Loopback names, in the three forms that programs use. */
const loopback = ['localhost', '127.0.0.1', '::1'] as const;

/**
 * Returns the hosts to add to `NO_PROXY`: the loopback names, for servers of the user, and the proxy. A
 * loopback name that the domain map has an entry for is left out, so its requests go through the proxy.
 *
 * The proxy is listed because Node.js from 24.5 on would send requests to the proxy through the proxy. The
 * entry has a port, so other ports of the host are not exempt. An IPv6 address has none: httpx refuses every
 * request if an IPv6 entry has a port (decision 48).
 *
 * @param proxy null: not known yet
 */
export function withoutProxy(
  domains: readonly Pick<Domain, 'pattern'>[],
  proxy: { readonly host: string; readonly port: number } | null,
): readonly string[] {
  const free: readonly string[] = loopback.filter(
    (host) => !domains.some(({ pattern }) => concerns(pattern.host, host)),
  );
  if (proxy === null || free.includes(proxy.host)) return free;
  return [...free, isIPv6(proxy.host) ? proxy.host : `${proxy.host}:${proxy.port}`];
}

// Reports whether an entry concerns a host; it also matches names below it, so `app.localhost` in the map
// belongs to `localhost`.
function concerns(host: string, entry: string): boolean {
  return host === entry || host === `[${entry}]` || host.endsWith(`.${entry}`);
}

/** Returns the entries of `NO_PROXY` and `no_proxy`, in their order, each once. */
export function noProxyEntries(parent: NodeJS.ProcessEnv): readonly string[] {
  return entriesOf([parent['NO_PROXY'], parent['no_proxy']]);
}

/** Returns the parent's entries unchanged, followed by the added ones. */
export function mergedNoProxy(parent: NodeJS.ProcessEnv, added: readonly string[]): readonly string[] {
  return entriesOf([...noProxyEntries(parent), ...added]);
}

function entriesOf(texts: readonly (string | undefined)[]): readonly string[] {
  // Spaces part entries as well, to curl and Go.
  return [...new Set(texts.flatMap((text) => (text ?? '').split(/[\s,]+/)).filter((entry) => entry !== ''))];
}

/**
 * Reports whether any program applies an entry to a host, as the whole name or as its end. Programs differ
 * (curl and Go apply `x.y` to `a.x.y` too, others need `.x.y`), so this uses the widest reading.
 *
 * @param port null: the default port of http or https
 */
export function bypasses(entry: string, { host, port }: Pick<DomainPattern, 'host' | 'port'>): boolean {
  if (entry === '*') return true;
  const { name, port: only } = isIPv6(entry) ? { name: entry, port: null } : splitEntry(entry);
  if (only !== null && (port === null ? only !== 443 && only !== 80 : only !== port)) return false;
  const bare = host.replace(/^\[|\]$/g, '');
  return name !== '' && (bare === name || bare.endsWith(`.${name}`));
}

function splitEntry(entry: string): { readonly name: string; readonly port: number | null } {
  const [, text = '', port] = /^(.*?)(?::(\d+))?$/.exec(entry.toLowerCase()) ?? [];
  const name = text.replace(/^\*?\./, '').replace(/^\[|\]$/g, '');
  return { name, port: port === undefined ? null : Number(port) };
}

/** Trust files for programs. Absolute paths; the content is public. */
export interface TrustFiles {
  /** PEM file with only our CA. */
  readonly caFile: string;
  /** Our CA, and the parent's additional certificates: for variables that add roots. */
  readonly extraFile: string;
  /** Roots of the machine and the parent, and our CA: for variables that replace roots. */
  readonly bundleFile: string;
  readonly javaTrustStore: {
    readonly file: string;
    /**
     * Required by Java. Not a secret: it only keys the integrity check of a file of certificates, and Java
     * prints `JAVA_TOOL_OPTIONS`, which contains it.
     */
    readonly password: string;
  };
  /** A copy of `config/node-proxy.cjs`. */
  readonly nodeFile: string;
  /** Folder of an ini file, for `PHP_INI_SCAN_DIR`. No variable sets the roots of the curl extension. */
  readonly phpFolder: string;
  /** Value of `WGETRC`; null: the user has a file, and wget reads only one. */
  readonly wgetFile: string | null;
  /** Value of `HGRCPATH`: the settings of Mercurial, followed by our file; null: not on this system. */
  readonly hgrcPath: string | null;
  /** Value of `APT_CONFIG`, a file that includes the file of the person; null: apt could not read it. */
  readonly aptFile: string | null;
  /** Value of `KUBECONFIG`: our file, then those of the user; null: they name no cluster of the map. */
  readonly kubeconfig: string | null;
}

interface ClientSettings {
  /** The parent environment. */
  readonly parent: NodeJS.ProcessEnv;
  /** Address of the proxy; null: not known, so no variable names it. */
  readonly proxy: {
    /** URL with user information if a token is required. It is then secret. */
    readonly url: string;
    /** The host of the proxy: a name or an address, an IPv6 one without brackets. */
    readonly host: string;
    readonly port: number;
  } | null;
  readonly trust: TrustFiles;
  /** Hosts that are called without the proxy, besides those of the parent: see `withoutProxy`. */
  readonly noProxy: readonly string[];
  /** Variables that stay as the parent has them. */
  readonly keep?: readonly string[] | undefined;
  /** Absent: that of this process. */
  readonly platform?: NodeJS.Platform;
}

/** Returns names and values of all variables of the table. Other variables of the parent are not changed. */
export function clientVariables(settings: ClientSettings): Readonly<Record<string, string>> {
  const { parent, platform = process.platform } = settings;
  return Object.fromEntries(
    variables
      .filter(({ name }) => settings.keep?.includes(name) !== true)
      .filter(({ onlyOn = platform }: ClientVariable) => onlyOn === platform)
      .filter((variable: ClientVariable) => variable.onlyIfSet !== true || isSet(parent[variable.name]))
      .flatMap(({ name, value }): readonly (readonly [string, string | null])[] =>
        value === 'git'
          ? gitSetting(parent, 'http.schannelCheckRevoke', 'false')
          : [[name, valueOf(value, settings)]],
      )
      .filter((pair): pair is readonly [string, string] => pair[1] !== null),
  );
}

/** Adds a setting of git once to those in the environment. Another value that is there stays. */
function gitSetting(parent: NodeJS.ProcessEnv, key: string, value: string): readonly [string, string][] {
  const before = parent['GIT_CONFIG_COUNT'] ?? '';
  // With an invalid count, git ends with an error that names it.
  if (!/^\d{0,4}$/.test(before)) return [];
  const count = Number(before);
  const keys = Array.from({ length: count }, (_, at) => parent[`GIT_CONFIG_KEY_${at}`]?.toLowerCase());
  const found = keys.lastIndexOf(key.toLowerCase());
  if (found !== -1 && parent[`GIT_CONFIG_VALUE_${found}`] !== value) return [];
  const at = found === -1 ? count : found;
  return [
    ['GIT_CONFIG_COUNT', String(Math.max(count, at + 1))],
    [`GIT_CONFIG_KEY_${at}`, key],
    [`GIT_CONFIG_VALUE_${at}`, value],
  ];
}

function valueOf(
  value: Exclude<ClientVariable['value'], 'git'>,
  { parent, proxy, trust, noProxy }: ClientSettings,
): string | null {
  switch (value) {
    case 'proxy':
      return proxy === null ? null : proxy.url;
    case 'no-proxy':
      return mergedNoProxy(parent, noProxy).join(',');
    case 'extra':
      return trust.extraFile;
    case 'bundle':
      return trust.bundleFile;
    case 'java':
      return javaOptions(parent['JAVA_TOOL_OPTIONS'] ?? '', {
        trustStore: trust.javaTrustStore,
        proxy,
        noProxy: mergedNoProxy(parent, noProxy),
      });
    case 'node':
      return withPreload(parent['NODE_OPTIONS'] ?? '', trust.nodeFile);
    case 'php':
      return withFolder(parent['PHP_INI_SCAN_DIR'] ?? '', trust.phpFolder);
    case 'wget':
      return trust.wgetFile;
    case 'hg':
      return trust.hgrcPath;
    case 'apt':
      return trust.aptFile;
    case 'kube':
      return trust.kubeconfig;
    default:
      return value.text;
  }
}

/** Adds our file once. Within quotes, Node.js reads a backslash as an escape. */
function withPreload(before: string, file: string): string {
  const others = before.replaceAll(/ ?--require "[^"]*node-proxy\.cjs"/g, '');
  return [others, `--require "${file.replaceAll(/[\\"]/g, String.raw`\$&`)}"`].filter(isSet).join(' ');
}

/** Adds our folder. An empty part is the built-in folder. PHP separates folders by `:` (Windows: `;`). */
function withFolder(before: string, folder: string): string {
  const separator = process.platform === 'win32' ? ';' : ':';
  const others = before.split(separator).filter((part) => part !== folder);
  return [...(before === '' ? [''] : others), folder].join(separator);
}

function isSet(value: string | undefined): boolean {
  return value !== undefined && value !== '';
}
