import type { ClientName } from '../config/schema.ts';
import type { VariableName } from './variables.ts';

/** The programs and the variables that they need, for `doctor` and `docs/clients.md`. */

/** A program, or a family of programs with the same settings. */
export interface Client {
  /** One word, for `doctor` and as an anchor of the page. */
  readonly name: ClientName;
  readonly title: string;
  /** The names of its programs on the PATH; the first one represents all. None: a library. */
  readonly programs: readonly string[];
  /** Variables that the program needs besides the proxy variables. */
  readonly variables: readonly VariableName[];
  /** Sentences about the limits of variables for the program. */
  readonly notes: readonly string[];
  /** The parts with tests; statements about other parts are from documentation. */
  readonly seen: readonly SeenClient[];
}

/** A tested program or library. */
interface SeenClient {
  readonly what: string;
  /** File in `test/clients/`, without extension; null: tested by hand, with the version that `what` names. */
  readonly test: string | null;
}

export const clients: readonly Client[] = [
  {
    name: 'curl',
    title: 'curl',
    programs: ['curl'],
    variables: ['CURL_CA_BUNDLE'],
    notes: [
      'A file ~/.curlrc with "proxy" or "cacert" overrides the variables.',
      'The curl of Windows uses the roots of Windows, and no variable sets its revocation check: add --ssl-revoke-best-effort.',
    ],
    seen: [{ what: 'curl', test: 'languages' }],
  },
  {
    name: 'wget',
    title: 'wget',
    programs: ['wget'],
    variables: ['WGETRC'],
    notes: [
      'Your own ~/.wgetrc needs the line "ca_certificate = BUNDLE": wget reads only one such file.',
      'wget2 (1.99) opens TLS to the proxy, although the URL of the proxy begins with http://, and fails: use wget or curl.',
    ],
    seen: [{ what: 'wget', test: 'languages' }],
  },
  {
    name: 'git',
    title: 'git, Git LFS',
    programs: ['git', 'git-lfs'],
    variables: ['GIT_SSL_CAINFO', 'GIT_HTTP_PROXY_AUTHMETHOD', 'GIT_TERMINAL_PROMPT', 'GIT_CONFIG_COUNT'],
    notes: [
      'http.proxy in a git config overrides the variables.',
      'Addresses of the form git@HOST:… use SSH, not the HTTP proxy.',
    ],
    seen: [
      { what: 'git', test: 'git' },
      { what: 'Git LFS', test: 'git-lfs' },
    ],
  },
  {
    name: 'node',
    title: 'Node.js',
    programs: ['node'],
    variables: ['NODE_USE_ENV_PROXY', 'NODE_OPTIONS', 'NODE_EXTRA_CA_CERTS'],
    notes: [
      'Before 22.21 and 24.5, fetch, http and WebSocket read the proxy variables by the file in NODE_OPTIONS.',
      'ws and superagent bypass the proxy: pass https.globalAgent to them, with new WebSocket(URL, { agent }) and .agent(agent).',
      'The request API of Playwright ignores HTTPS_PROXY: use request.newContext({ proxy: { server: process.env.HTTPS_PROXY } }).',
      'http2.connect ignores the proxy: use fetch of undici, or open a CONNECT tunnel in createConnection.',
    ],
    seen: [
      { what: 'ws 8 and superagent 10 with https.globalAgent', test: null },
      { what: 'fetch, node:https, node-fetch', test: 'javascript' },
      { what: 'Node.js 20 and 22', test: 'node-versions' },
      { what: 'axios, got, undici and needle since 2023', test: 'versions' },
      { what: 'SDKs', test: 'sdks' },
    ],
  },
  {
    name: 'npm',
    title: 'npm, pnpm',
    programs: ['npm', 'pnpm'],
    variables: ['NPM_CONFIG_CAFILE', 'NODE_EXTRA_CA_CERTS'],
    notes: ['https-proxy in an .npmrc overrides HTTPS_PROXY.'],
    seen: [{ what: 'npm', test: 'npm' }],
  },
  {
    name: 'yarn',
    title: 'Yarn',
    programs: ['yarn'],
    variables: ['YARN_HTTPS_CA_FILE_PATH', 'YARN_HTTPS_PROXY', 'YARN_HTTP_PROXY', 'NODE_EXTRA_CA_CERTS'],
    notes: [],
    seen: [{ what: 'Yarn 4.18', test: null }],
  },
  {
    name: 'bun',
    title: 'Bun',
    programs: ['bun'],
    variables: ['NODE_EXTRA_CA_CERTS'],
    notes: ['Its WebSocket bypasses the proxy: use new WebSocket(URL, { proxy: process.env.HTTPS_PROXY }).'],
    seen: [{ what: 'Bun 1.4: fetch, install, WebSocket with the option proxy', test: null }],
  },
  {
    name: 'deno',
    title: 'Deno',
    programs: ['deno'],
    variables: ['DENO_CERT'],
    notes: [],
    seen: [{ what: 'Deno 2.9: fetch, WebSocket, packages of npm', test: null }],
  },
  {
    name: 'python',
    title: 'Python: requests, httpx, urllib, aiohttp',
    programs: ['python3', 'python'],
    variables: ['SSL_CERT_FILE', 'REQUESTS_CA_BUNDLE'],
    notes: [
      'aiohttp reads the proxy variables only in a session with trust_env=True.',
      'urllib3 by itself, tornado and treq bypass the proxy: use urllib3.ProxyManager(os.environ["HTTPS_PROXY"]), CurlAsyncHTTPClient of tornado with proxy_host, proxy_port, proxy_username, proxy_password and ca_certs=os.environ["CURL_CA_BUNDLE"], and httpx instead of treq.',
    ],
    seen: [
      { what: 'urllib', test: 'languages' },
      { what: 'requests, httpx and aiohttp since 2023', test: 'versions' },
    ],
  },
  {
    name: 'pip',
    title: 'pip, Poetry, conda',
    programs: ['pip', 'poetry', 'conda'],
    variables: ['PIP_CERT', 'REQUESTS_CA_BUNDLE', 'SSL_CERT_FILE'],
    notes: [],
    seen: [{ what: 'pip', test: 'pip' }],
  },
  {
    name: 'uv',
    title: 'uv',
    programs: ['uv'],
    variables: ['SSL_CERT_FILE'],
    notes: [],
    seen: [{ what: 'uv 0.13', test: null }],
  },
  {
    name: 'yt-dlp',
    title: 'yt-dlp',
    programs: ['yt-dlp'],
    variables: ['SSL_CERT_FILE'],
    notes: ['If certifi is installed, it uses only those roots: add --compat-options no-certifi.'],
    seen: [{ what: 'yt-dlp with --compat-options no-certifi', test: null }],
  },
  {
    name: 'httplib2',
    title: 'httplib2',
    programs: [],
    variables: ['HTTPLIB2_CA_CERTS'],
    notes: ['It uses proxies only if PySocks is installed, and otherwise bypasses them silently.'],
    seen: [],
  },
  {
    name: 'aws',
    title: 'AWS command line, boto3',
    programs: ['aws'],
    variables: ['AWS_CA_BUNDLE'],
    notes: [
      'They sign with the placeholders that run sets, and Sidekey replaces the signature (docs/aws.md).',
    ],
    seen: [],
  },
  {
    name: 'gcloud',
    title: 'gcloud',
    programs: ['gcloud'],
    variables: ['CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE'],
    notes: ['proxy/address in its own settings overrides the variables.'],
    seen: [],
  },
  {
    name: 'azure',
    title: 'Azure command line',
    programs: ['az'],
    variables: ['REQUESTS_CA_BUNDLE'],
    notes: [],
    seen: [],
  },
  {
    name: 'go',
    title: 'Go, and programs in Go: gh, kubectl, Helm, Terraform, modules',
    programs: ['go', 'gh', 'kubectl', 'helm', 'terraform'],
    variables: ['SSL_CERT_FILE', 'KUBECONFIG'],
    notes: [
      "On macOS and Windows, Go uses only the system's trust store: add the CA there.",
      'kubectl config writes into the file of the run, which ends with it.',
      'In a shell of sidekey env, kubectl config and aws eks update-kubeconfig write into a file that the next env overwrites.',
    ],
    seen: [
      { what: 'net/http', test: 'languages' },
      { what: 'modules', test: 'go' },
      { what: 'gh', test: 'gh' },
      { what: 'kubectl with EKS', test: 'kubectl' },
      { what: 'skopeo', test: 'skopeo' },
    ],
  },
  {
    name: 'cargo',
    title: 'Cargo',
    programs: ['cargo'],
    variables: ['CARGO_HTTP_CAINFO', 'CARGO_HTTP_PROXY', 'CARGO_HTTP_CHECK_REVOKE', 'GIT_SSL_CAINFO'],
    notes: [],
    seen: [{ what: 'Cargo', test: 'cargo' }],
  },
  {
    name: 'rust',
    title: 'Rust: reqwest and others with native roots',
    programs: ['rustup'],
    variables: ['SSL_CERT_FILE'],
    notes: [
      'A program that was built with webpki-roots uses only its built-in roots.',
      'ureq does so by default: it needs the feature platform-verifier and RootCerts::PlatformVerifier.',
      'On macOS, only rustls-native-certs reads SSL_CERT_FILE.',
    ],
    seen: [
      { what: 'reqwest 0.12 with rustls-tls-native-roots, ureq 3 with its platform-verifier', test: null },
    ],
  },
  {
    name: 'java',
    title: 'Java, Maven, Gradle, Kotlin, Scala',
    programs: ['java', 'mvn', 'gradle', 'sbt'],
    variables: ['JAVA_TOOL_OPTIONS'],
    notes: [
      'Java takes no proxy password from variables: it needs a port that requires no token.',
      'The JVM prints "Picked up JAVA_TOOL_OPTIONS" to stderr, before the first line of java -version: clients: { java: off } in the config file, or --keep JAVA_TOOL_OPTIONS, leaves the variable as it is.',
      'Apache HttpClient 4 and 5 read neither proxy nor trust store of the JVM unless the program builds them with useSystemProperties().',
    ],
    seen: [
      { what: 'HttpClient', test: 'languages' },
      { what: 'Maven 3.8 and 3.9', test: 'maven' },
      { what: 'Apache HttpClient 4.5 and 5.4 with useSystemProperties()', test: null },
    ],
  },
  {
    name: 'bazel',
    title: 'Bazel',
    programs: ['bazel', 'bazelisk'],
    variables: [],
    notes: [
      'It ignores JAVA_TOOL_OPTIONS: start it with --host_jvm_args=-Djavax.net.ssl.trustStore=FILE and --host_jvm_args=-Djavax.net.ssl.trustStorePassword=changeit, where FILE is the trust store in JAVA_TOOL_OPTIONS.',
      'Rules that read the first line of java -version fail with JAVA_TOOL_OPTIONS: set clients: { java: off } in the config file.',
    ],
    seen: [],
  },
  {
    name: 'ruby',
    title: 'Ruby, Bundler',
    programs: ['ruby', 'bundle'],
    variables: ['SSL_CERT_FILE'],
    notes: [],
    seen: [{ what: 'net/http', test: 'languages' }],
  },
  {
    name: 'php',
    title: 'PHP, Composer',
    programs: ['php', 'composer'],
    variables: ['PHP_INI_SCAN_DIR', 'SSL_CERT_FILE'],
    notes: [
      'Streams (file_get_contents) ignore the proxy variables: set the proxy in a stream context. The curl extension and Guzzle read them.',
    ],
    seen: [{ what: 'the curl extension', test: 'languages' }],
  },
  {
    name: 'perl',
    title: 'Perl: LWP, HTTP::Tiny, Mojolicious',
    programs: ['perl'],
    variables: ['PERL_LWP_ENV_PROXY', 'PERL_LWP_SSL_CA_FILE', 'MOJO_PROXY', 'SSL_CERT_FILE'],
    notes: [],
    seen: [{ what: 'LWP, HTTP::Tiny, Mojolicious', test: 'languages' }],
  },
  {
    name: 'dotnet',
    title: '.NET',
    programs: ['dotnet'],
    variables: ['SSL_CERT_FILE'],
    notes: ["On macOS and Windows, .NET uses only the system's trust store."],
    seen: [],
  },
  {
    name: 'elixir',
    title: 'Elixir and Erlang: Hex',
    programs: ['mix', 'rebar3'],
    variables: ['HEX_CACERTS_PATH'],
    notes: [],
    seen: [],
  },
  {
    name: 'julia',
    title: 'Julia',
    programs: ['julia'],
    variables: ['JULIA_SSL_CA_ROOTS_PATH'],
    notes: [],
    seen: [],
  },
  {
    name: 'r',
    title: 'R',
    programs: ['Rscript'],
    variables: ['CURL_CA_BUNDLE'],
    notes: [
      'Its package curl, and so httr, ignores CURL_CA_BUNDLE: use new_handle(cainfo = Sys.getenv("CURL_CA_BUNDLE")).',
    ],
    seen: [{ what: 'R 4.2: download.file and url; curl with cainfo', test: null }],
  },
  {
    name: 'libcurl',
    title: 'Programs with libcurl',
    programs: [],
    variables: [],
    notes: [
      'Only the program curl reads CURL_CA_BUNDLE and SSL_CERT_FILE. Other programs use the path that was built into libcurl, or a setting of their own (CURLOPT_CAINFO).',
    ],
    seen: [],
  },
  {
    name: 'aria2',
    title: 'aria2',
    programs: ['aria2c'],
    variables: [],
    notes: [
      'It reads no variable for its roots: use aria2c --ca-certificate=BUNDLE, or ca-certificate in aria2.conf.',
    ],
    seen: [{ what: 'aria2 1.36 with --ca-certificate', test: null }],
  },
  {
    name: 'ffmpeg',
    title: 'ffmpeg',
    programs: ['ffmpeg'],
    variables: [],
    notes: ['It verifies certificates only with -tls_verify 1 -ca_file BUNDLE.'],
    seen: [],
  },
  {
    name: 'mercurial',
    title: 'Mercurial',
    programs: ['hg'],
    variables: ['HGRCPATH'],
    notes: [
      'web.cacerts in the hgrc of a repository overrides it.',
      'The bundle lacks roots of your own web.cacerts: add them to SSL_CERT_FILE.',
    ],
    seen: [{ what: 'hg', test: 'mercurial' }],
  },
  {
    name: 'subversion',
    title: 'Subversion',
    programs: ['svn'],
    variables: [],
    notes: [
      'It reads no variables: set http-proxy-host, http-proxy-port and ssl-authority-files in ~/.subversion/servers, or with options such as --config-option servers:global:http-proxy-host=127.0.0.1. It needs a port that requires no token.',
    ],
    seen: [{ what: 'svn 1.14 with --config-option', test: null }],
  },
  {
    name: 'apt',
    title: 'apt',
    programs: ['apt-get', 'apt'],
    variables: ['APT_CONFIG'],
    notes: [
      'Acquire::https::CAInfo in /etc/apt/apt.conf.d overrides it.',
      'As root, apt reads files as the user _apt. If that user cannot read the bundle, run does not set APT_CONFIG.',
      'sudo removes the variables: a program behind sudo does not use Sidekey.',
    ],
    seen: [{ what: 'apt-get update', test: 'apt' }],
  },
  {
    name: 'agents',
    title: 'Agents: codex, copilot, gemini-cli, opencode',
    programs: ['codex', 'copilot', 'gemini', 'opencode'],
    variables: ['SSL_CERT_FILE', 'NODE_EXTRA_CA_CERTS', 'NODE_USE_ENV_PROXY'],
    notes: [],
    seen: [
      { what: 'the CLI of Copilot', test: 'copilot' },
      { what: 'codex 0.169, gemini-cli 0.61, opencode 1.18', test: null },
    ],
  },
  {
    name: 'nix',
    title: 'Nix',
    programs: ['nix'],
    variables: ['NIX_SSL_CERT_FILE'],
    notes: ['The Nix daemon builds with its own environment: set the variables there too.'],
    seen: [],
  },
  {
    name: 'grpc',
    title: 'gRPC in C++, Python, Ruby, PHP, C# and Node.js',
    programs: [],
    variables: ['GRPC_DEFAULT_SSL_ROOTS_FILE_PATH'],
    notes: [],
    seen: [{ what: 'grpcio 1.85 of Python, grpc-js 1.14 of Node.js', test: null }],
  },
  {
    name: 'docker',
    title: 'Docker',
    programs: ['docker'],
    variables: [],
    notes: [
      'The daemon pulls and pushes with its own settings. For programs in containers, use sidekey env --shell docker.',
    ],
    seen: [],
  },
  {
    name: 'chromium',
    title: 'Chromium, Chrome',
    programs: ['chromium', 'google-chrome'],
    variables: [],
    notes: [
      'It takes no proxy password from variables: it needs a port that requires no token.',
      'Its roots come from ~/.pki/nssdb: sidekey ca install --store browsers (needs certutil of libnss3-tools).',
    ],
    seen: [{ what: 'Chromium', test: 'chromium' }],
  },
];

/** Returns the variables that only these clients need. */
export function variablesOfOnly(names: ReadonlySet<ClientName>): readonly string[] {
  const of = (isNamed: boolean) =>
    clients.filter(({ name }) => names.has(name) === isNamed).flatMap(({ variables }) => variables);
  const others = of(false);
  return of(true).filter((name) => !others.includes(name));
}
