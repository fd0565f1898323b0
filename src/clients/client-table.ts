import type { VariableName } from './variable-table.ts';

/** Which programs need which variables: `doctor` explains with it, and `docs/clients.md` shows it. */

/** A program, or a family of them that reads the same. */
export interface Client {
  /** One word, for `doctor` and as an anchor of the page. */
  readonly name: string;
  readonly title: string;
  /** How its programs are called on the PATH, the first one that stands for all. None: a library. */
  readonly programs: readonly string[];
  /** What it needs besides the proxy variables, which all read. */
  readonly variables: readonly VariableName[];
  /** What variables cannot do for it: sentences. */
  readonly notes: readonly string[];
  /** What of it is run for real, by a test in `test/clients/`; of the rest, what is said is from its documentation. */
  readonly seen: readonly SeenClient[];
}

/** A program, or a library, that was seen to work. */
export interface SeenClient {
  readonly what: string;
  /** A file in `test/clients/`, without its ending. */
  readonly test: string;
}

/** Every program that is known. */
export const clients: readonly Client[] = [
  {
    name: 'curl',
    title: 'curl',
    programs: ['curl'],
    variables: ['CURL_CA_BUNDLE'],
    notes: ['A file ~/.curlrc with "proxy" or "cacert" goes before the variables.'],
    seen: [{ what: 'curl', test: 'languages' }],
  },
  {
    name: 'wget',
    title: 'wget',
    programs: ['wget'],
    variables: ['WGETRC'],
    notes: [
      'A file ~/.wgetrc of your own needs the line "ca_certificate = BUNDLE": wget reads no second one.',
    ],
    seen: [{ what: 'wget', test: 'languages' }],
  },
  {
    name: 'git',
    title: 'git, Git LFS',
    programs: ['git', 'git-lfs'],
    variables: ['GIT_SSL_CAINFO', 'GIT_HTTP_PROXY_AUTHMETHOD', 'GIT_TERMINAL_PROMPT'],
    notes: [
      'http.proxy in a git config goes before the variables.',
      'Addresses of the form git@HOST:… are SSH, which no proxy for HTTP sees.',
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
    variables: ['NODE_USE_ENV_PROXY', 'NODE_EXTRA_CA_CERTS'],
    notes: ['Before 22.21 and 24.5 fetch and http know no proxy: a library such as undici has to be told.'],
    seen: [
      { what: 'fetch, node:https, undici, axios, got, node-fetch', test: 'javascript' },
      { what: 'SDKs', test: 'sdks' },
    ],
  },
  {
    name: 'npm',
    title: 'npm, pnpm',
    programs: ['npm', 'pnpm'],
    variables: ['NPM_CONFIG_CAFILE', 'NODE_EXTRA_CA_CERTS'],
    notes: ['https-proxy in an .npmrc goes before HTTPS_PROXY.'],
    seen: [{ what: 'npm', test: 'npm' }],
  },
  {
    name: 'yarn',
    title: 'Yarn',
    programs: ['yarn'],
    variables: ['YARN_HTTPS_CA_FILE_PATH', 'YARN_HTTPS_PROXY', 'YARN_HTTP_PROXY', 'NODE_EXTRA_CA_CERTS'],
    notes: [],
    seen: [],
  },
  { name: 'bun', title: 'Bun', programs: ['bun'], variables: ['NODE_EXTRA_CA_CERTS'], notes: [], seen: [] },
  { name: 'deno', title: 'Deno', programs: ['deno'], variables: ['DENO_CERT'], notes: [], seen: [] },
  {
    name: 'python',
    title: 'Python: requests, httpx, urllib, aiohttp',
    programs: ['python3', 'python'],
    variables: ['SSL_CERT_FILE', 'REQUESTS_CA_BUNDLE'],
    notes: ['aiohttp reads the proxy variables only where its session is made with trust_env=True.'],
    seen: [{ what: 'requests, httpx, urllib, aiohttp', test: 'languages' }],
  },
  {
    name: 'pip',
    title: 'pip, Poetry, conda',
    programs: ['pip', 'poetry', 'conda'],
    variables: ['PIP_CERT', 'REQUESTS_CA_BUNDLE', 'SSL_CERT_FILE'],
    notes: [],
    seen: [{ what: 'pip', test: 'pip' }],
  },
  { name: 'uv', title: 'uv', programs: ['uv'], variables: ['SSL_CERT_FILE'], notes: [], seen: [] },
  {
    name: 'httplib2',
    title: 'httplib2',
    programs: [],
    variables: ['HTTPLIB2_CA_CERTS'],
    notes: ['It knows proxies only where PySocks is installed, and goes past them in silence otherwise.'],
    seen: [],
  },
  {
    name: 'aws',
    title: 'AWS command line, boto3',
    programs: ['aws'],
    variables: ['AWS_CA_BUNDLE'],
    notes: [
      'They sign with keys that are worth nothing, which run sets, and Sidekey signs anew (docs/aws.md).',
    ],
    seen: [],
  },
  {
    name: 'gcloud',
    title: 'gcloud',
    programs: ['gcloud'],
    variables: ['CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE'],
    notes: ['proxy/address in its own settings goes before the variables.'],
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
    title: 'Go, and what is written in it: gh, kubectl, Helm, Terraform, modules',
    programs: ['go', 'gh', 'kubectl', 'helm', 'terraform'],
    variables: ['SSL_CERT_FILE'],
    notes: [
      'On macOS and Windows Go asks the system alone: add the CA to the keychain.',
      'kubectl takes roots of a cluster from the kubeconfig: name the bundle there as certificate-authority.',
    ],
    seen: [
      { what: 'net/http', test: 'languages' },
      { what: 'modules', test: 'go' },
      { what: 'gh', test: 'gh' },
      { what: 'skopeo', test: 'skopeo' },
    ],
  },
  {
    name: 'cargo',
    title: 'Cargo',
    programs: ['cargo'],
    variables: ['CARGO_HTTP_CAINFO', 'CARGO_HTTP_PROXY', 'GIT_SSL_CAINFO'],
    notes: [],
    seen: [{ what: 'Cargo', test: 'cargo' }],
  },
  {
    name: 'rust',
    title: 'Rust: reqwest and others with native roots',
    programs: ['rustup'],
    variables: ['SSL_CERT_FILE'],
    notes: [
      'A program that was built with webpki-roots has its roots inside and takes no others.',
      'On macOS SSL_CERT_FILE is read by rustls-native-certs alone.',
    ],
    seen: [],
  },
  {
    name: 'java',
    title: 'Java, Maven, Gradle, Kotlin, Scala',
    programs: ['java', 'mvn', 'gradle', 'sbt'],
    variables: ['JAVA_TOOL_OPTIONS'],
    notes: [
      'Java cannot be given a password for a proxy by variables: it needs a port where no token is asked for.',
      'The JVM prints "Picked up JAVA_TOOL_OPTIONS" to stderr.',
      'Maven 3.9 takes a proxy from the properties of the JVM only with -Daether.connector.http.useSystemProperties=true, in MAVEN_ARGS.',
    ],
    seen: [
      { what: 'HttpClient', test: 'languages' },
      { what: 'Maven 3.8', test: 'maven' },
    ],
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
      'Streams (file_get_contents) know no proxy variables: name it in a stream context. The curl extension and Guzzle read them.',
    ],
    seen: [{ what: 'the curl extension', test: 'languages' }],
  },
  {
    name: 'perl',
    title: 'Perl: LWP, HTTP::Tiny',
    programs: ['perl'],
    variables: ['PERL_LWP_ENV_PROXY', 'PERL_LWP_SSL_CA_FILE', 'SSL_CERT_FILE'],
    notes: [],
    seen: [{ what: 'LWP, HTTP::Tiny', test: 'languages' }],
  },
  {
    name: 'dotnet',
    title: '.NET',
    programs: ['dotnet'],
    variables: ['SSL_CERT_FILE'],
    notes: ['On macOS and Windows .NET asks the system alone.'],
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
  { name: 'r', title: 'R', programs: ['Rscript'], variables: ['CURL_CA_BUNDLE'], notes: [], seen: [] },
  {
    name: 'nix',
    title: 'Nix',
    programs: ['nix'],
    variables: ['NIX_SSL_CERT_FILE'],
    notes: ['Where a daemon builds, its own environment counts.'],
    seen: [],
  },
  {
    name: 'grpc',
    title: 'gRPC in C++, Python, Ruby, PHP, C# and Node.js',
    programs: [],
    variables: ['GRPC_DEFAULT_SSL_ROOTS_FILE_PATH'],
    notes: [],
    seen: [],
  },
  {
    name: 'docker',
    title: 'Docker',
    programs: ['docker'],
    variables: [],
    notes: [
      'The daemon pulls and pushes, with its own settings; sidekey env --shell docker is for what runs in containers.',
    ],
    seen: [],
  },
  {
    name: 'chromium',
    title: 'Chromium, Chrome',
    programs: ['chromium', 'google-chrome'],
    variables: [],
    notes: [
      'It takes no password for a proxy from variables: it needs a port where no token is asked for.',
      'Its roots come from ~/.pki/nssdb: certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n Sidekey -i CA_FILE (libnss3-tools).',
    ],
    seen: [{ what: 'Chromium', test: 'chromium' }],
  },
];
