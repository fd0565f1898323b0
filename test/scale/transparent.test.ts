import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { findClient } from '../support/client-program.ts';
import { home } from '../support/command-line.ts';
import { startPlainUpstream, startUpstream, upstreamCa, upstreamHost } from '../support/upstream.ts';
import { ended } from './network.ts';

/**
 * Programs without any setting of a proxy, in a network namespace of their own: the rules that Sidekey prints
 * redirect their connections to it. The upstream is outside.
 */

const programs = await Promise.all(['nft', 'iptables'].map((name) => findClient(name, ['--version'])));
const lacking = programs.find((each) => each.missing !== false)?.missing;
const missing =
  process.env['SIDEKEY_SCALE'] === undefined
    ? ' (needs namespaces: run "npm run scale" as root)'
    : lacking && ` (${lacking})`;

/** The user of Sidekey: the owner of the tree, who can read it, unless that is root. Programs run as root. */
const uid = String(statSync(import.meta.dirname).uid || 65_533);
const outside = { ipv4: '10.80.0.1', ipv6: 'fd80::1' };
const credential = 'acme-secret-5f0c1a7e9b3d4c2a';

const execute = ([command = '', ...words]: readonly string[], input?: string): string =>
  execFileSync(command, words, { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'inherit'] });

const here = (text: string) => void execute(['ip', ...text.split(' ')]);

/**
 * Makes a network namespace with one way out; removed when the test ends. Returns the words that enter it.
 */
async function podNetwork(): Promise<readonly string[]> {
  const holder = spawn('unshare', ['--net', 'cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  onTestFinished(() => ended(holder));
  holder.stdin.write('\n');
  await once(holder.stdout, 'data');
  const within = ['nsenter', `--net=/proc/${holder.pid}/ns/net`];
  const inside = (text: string) => void execute([...within, 'ip', ...text.split(' ')]);
  here(`link add pod type veth peer name eth0 netns ${holder.pid}`);
  // A namespace ends some time after its last process, and its links with it.
  onTestFinished(() => here('link delete pod'));
  here(`address add ${outside.ipv4}/30 dev pod`);
  here(`address add ${outside.ipv6}/64 dev pod nodad`);
  here('link set pod up');
  inside('link set lo up');
  inside('address add 10.80.0.2/30 dev eth0');
  inside('address add fd80::2/64 dev eth0 nodad');
  inside('link set eth0 up');
  inside(`route add default via ${outside.ipv4}`);
  inside(`-6 route add default via ${outside.ipv6}`);
  return within;
}

const commandAt = (where: readonly string[], text: string) => void execute([...where, ...text.split(' ')]);

/** Makes a namespace whose only way out leads through another one. Returns the words that enter it. */
async function behind(router: readonly string[]): Promise<readonly string[]> {
  const holder = spawn('unshare', ['--net', 'cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  onTestFinished(() => ended(holder));
  holder.stdin.write('\n');
  await once(holder.stdout, 'data');
  const within = ['nsenter', `--net=/proc/${holder.pid}/ns/net`];
  commandAt(router, `ip link add routed type veth peer name eth0 netns ${holder.pid}`);
  commandAt(router, 'ip address add 10.81.0.1/30 dev routed');
  commandAt(router, 'ip link set routed up');
  commandAt(router, 'sysctl -q -w net.ipv4.ip_forward=1');
  commandAt(within, 'ip link set lo up');
  commandAt(within, 'ip address add 10.81.0.2/30 dev eth0');
  commandAt(within, 'ip link set eth0 up');
  commandAt(within, 'ip route add default via 10.81.0.1');
  here('route replace 10.81.0.0/30 via 10.80.0.2');
  return within;
}

interface PodOptions {
  readonly listen?: string;
  readonly proxy?: object;
  readonly domain?: object;
  /** The address of the upstream is a tunnel. */
  readonly isAddressTunnel?: boolean;
  readonly ipv6?: boolean;
  readonly plain?: boolean;
  readonly rules?: 'nft' | 'iptables';
  /** Connections are those of a namespace behind this one. */
  readonly isRouter?: boolean;
  /** The rules are loaded by `load`. */
  readonly isLate?: boolean;
  /** The user whose connections are not redirected; default: that of Sidekey. */
  readonly exempt?: string;
}

/** Starts an upstream outside, and Sidekey in a namespace whose connections are redirected to it. */
async function pod({ listen = '127.0.0.1:8377', ...options }: PodOptions = {}) {
  const within = await podNetwork();
  const address = options.ipv6 === true ? outside.ipv6 : outside.ipv4;
  const seen: { readonly path: string; readonly authorization: string | undefined }[] = [];
  const answer: RequestListener = (request, response) => {
    seen.push({ path: request.url ?? '', authorization: request.headers.authorization });
    response.end('from the upstream');
  };
  const { port, authority } = await (options.plain === true
    ? startPlainUpstream(answer, address)
    : startUpstream(answer, undefined, address));
  const at = await home({
    proxy: { listen, ...options.proxy },
    upstream: {
      ca: ['upstream-ca.pem'],
      private_addresses: ['10.80.0.0/30', 'fd80::/64'],
      resolve: { [upstreamHost]: address },
    },
    domains: {
      [authority]: { grant: 'acme', ...options.domain },
      ...(options.isAddressTunnel === true ? { [`${outside.ipv4}:${port}`]: 'tunnel' } : {}),
    },
    providers: { acme: { audience: [authority], inject: 'bearer' } },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  await at.grant('acme', { type: 'api_key', value: credential });
  const isIptables = options.rules === 'iptables';
  const isRouter = options.isRouter === true;
  const rules = ['transparent', 'rules', '--user', options.exempt ?? uid, '--port', String(port), '443'];
  const { stdout } = await at.run([
    ...rules,
    ...(isIptables ? ['--iptables'] : []),
    ...(isRouter ? ['--tproxy'] : []),
  ]);
  const load = () =>
    execute([...within, ...(isIptables || isRouter ? ['sh', '-e'] : ['nft', '-f', '-'])], stdout);
  const callers = isRouter ? await behind(within) : within;
  if (options.isLate !== true) load();
  return {
    at,
    port,
    authority,
    address,
    seen,
    within,
    load,
    start: (args: readonly string[] = ['--transparent'], capabilities: readonly string[] = []) => {
      execute(['chown', '-R', uid, at.folder]);
      const as = ['setpriv', `--reuid=${uid}`, '--clear-groups', ...capabilities];
      return at.start({ within: [...within, ...as], options: args });
    },
    /** Runs a program that knows the address of the upstream from its hosts file. */
    run: async (command: readonly string[], env: Readonly<Record<string, string>> = {}) => {
      const hosts = at.at('hosts');
      await writeFile(hosts, `127.0.0.1 localhost\n${address} ${upstreamHost} other.acme.test\n`);
      const bound = ['unshare', '--mount', 'sh', '-c', 'mount --bind "$0" /etc/hosts && exec "$@"', hosts];
      const program = await findClient(callers[0] ?? '', ['--version']);
      return program.run([...callers.slice(1), ...bound, ...command], { cwd: at.folder, env });
    },
  };
}

describe.skipIf(missing)(`redirected connections${missing ?? ''}`, () => {
  test.each(['nft', 'iptables'] as const)(
    'by rules of %s get the credential of their host',
    async (rules) => {
      const { start, run, seen, authority } = await pod({ rules });
      const { caFile } = await start();
      const { stdout, stderr } = await run(['curl', '-sS', '--cacert', caFile, `https://${authority}/items`]);
      expect([stdout, stderr]).toEqual(['from the upstream', '']);
      expect(seen).toEqual([{ path: '/items', authorization: `Bearer ${credential}` }]);
    },
  );

  test('over IPv6 get the credential', async () => {
    const { start, run, seen, authority } = await pod({ ipv6: true, listen: '[::1]:8377' });
    const { caFile } = await start();
    const { stdout } = await run(['curl', '-sS', '--cacert', caFile, `https://${authority}/items`]);
    expect(stdout).toBe('from the upstream');
    expect(seen).toMatchObject([{ authorization: `Bearer ${credential}` }]);
  });

  test('in plain HTTP get the credential if the domain allows plain HTTP', async () => {
    const { start, run, seen, authority } = await pod({ plain: true, domain: { allow_plain_http: true } });
    await start();
    const { stdout } = await run(['curl', '-sS', `http://${authority}/items`]);
    expect(stdout).toBe('from the upstream');
    expect(seen).toMatchObject([{ authorization: `Bearer ${credential}` }]);
  });

  test.each([
    ['python3', ['-c', 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read())']],
    ['node', ['-e', 'fetch(process.argv[1]).then((it) => it.text()).then(console.log)']],
    ['go', ['run', fileURLToPath(new URL('../clients/programs/go/main.go', import.meta.url))]],
    [
      'java',
      [
        '-Djavax.net.ssl.trustStore=trust.p12',
        '-Djavax.net.ssl.trustStorePassword=changeit',
        fileURLToPath(new URL('../clients/programs/Get.java', import.meta.url)),
      ],
    ],
  ])('of %s, which has no proxy setting, get the credential', async (program, args) => {
    const { start, run, seen, authority, at } = await pod();
    const { caFile } = await start();
    if (program === 'java') {
      const store = ['-keystore', at.at('trust.p12'), '-storepass', 'changeit'];
      execute(['keytool', '-importcert', '-noprompt', '-file', caFile, ...store]);
    }
    const { stdout, stderr } = await run([program, ...args, `https://${authority}/items`], {
      SSL_CERT_FILE: caFile,
      NODE_EXTRA_CA_CERTS: caFile,
    });
    expect([stdout.includes('from the upstream'), stderr]).toEqual([true, '']);
    expect(seen).toMatchObject([{ authorization: `Bearer ${credential}` }]);
  });

  test('to a host that no domain allows get a refusal with the reason', async () => {
    const { start, run, seen, port } = await pod();
    const { caFile } = await start();
    const url = `https://other.acme.test:${port}/`;
    const { stdout } = await run(['curl', '-sS', '--cacert', caFile, '-D', '-', url]);
    expect(stdout).toContain('Sidekey-Error: domain_not_allowed');
    expect(seen).toEqual([]);
  });

  test('to an address that the client chose get no credential of another host', async () => {
    const { start, run, seen, port, address } = await pod();
    const { caFile } = await start();
    const url = `https://other.acme.test:${port}/`;
    // SNI and Host differ, or there is no SNI.
    const lies = [['-H', `Host: ${upstreamHost}:${port}`, url], [`https://${address}:${port}/`]];
    for (const lie of lies) {
      const { stdout } = await run(['curl', '-sSk', '--cacert', caFile, '-D', '-', ...lie]);
      expect(stdout).toContain('403 domain_not_allowed');
    }
    const { stdout } = await run([
      'curl',
      '-sSk',
      '-D',
      '-',
      '-H',
      `Host: other.acme.test:${port}`,
      `https://${upstreamHost}:${port}/`,
    ]);
    expect(stdout).toContain('authority_mismatch');
    expect(seen).toEqual([]);
  });

  test.each([false, true])(
    'that are neither TLS nor HTTP pass if the map lists their address as a tunnel: %s',
    async (isListed) => {
      const say =
        'import socket, sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2]))); s.send(b"\\0\\1\\r\\n\\r\\n"); print(len(s.recv(99)))';
      const { start, run, address, port } = await pod({
        plain: true,
        isAddressTunnel: isListed,
      });
      await start();
      const { stdout } = await run(['python3', '-c', say, address, String(port)]);
      expect(Number(stdout) > 0).toBe(isListed);
    },
  );

  test('from a router that uses TPROXY get the credential of their host', async () => {
    const { start, run, seen, authority, at, port } = await pod({
      isRouter: true,
      proxy: { authentication: 'required', transparent: { token: 'file:token' } },
    });
    const { stdout: created } = await at.run(['agent', 'create', 'pod', '--grant', 'acme']);
    const token = /:(sidekey_agent_[\w-]{43})@/.exec(created)?.[1] ?? '';
    await writeFile(at.at('config', 'token'), token, { mode: 0o600 });
    const netAdmin = ['--inh-caps=+net_admin', '--ambient-caps=+net_admin'];
    const { caFile } = await start([], netAdmin);
    const ask = ['curl', '-sS', '-D', '-', '--max-time', '10', '--cacert', caFile];
    const first = await run([...ask, `https://${authority}/items`]);
    expect([first.stdout, first.stderr]).toEqual([expect.stringContaining('from the upstream'), '']);
    expect(seen).toEqual([{ path: '/items', authorization: `Bearer ${credential}` }]);
    const other = await run([...ask, `https://other.acme.test:${port}/`]);
    expect(other.stdout).toContain('Sidekey-Error: domain_not_allowed');
    // Root runs no command with the config of another user.
    expect(await readFile(at.at('data', 'audit.jsonl'), 'utf8')).toContain('"client":"10.81.0.2:');
  });

  test('from a router are not forwarded if Sidekey may not accept them', async () => {
    const { start, run, seen, authority } = await pod({ isRouter: true });
    const { caFile } = await start();
    const ask = ['curl', '-sS', '--max-time', '2', '--cacert', caFile, `https://${authority}/items`];
    expect((await run(ask)).stderr).toContain('timed out');
    expect(seen).toEqual([]);
  });

  test('of Sidekey to itself make its start fail', async () => {
    const { start } = await pod({ exempt: '65000' });
    await expect(start()).rejects.toThrow('redirect_loop');
  });

  test('of Sidekey to itself by rules that are loaded after the start are refused, and nothing is served', async () => {
    const { start, run, load, seen, authority } = await pod({ exempt: '65000', isLate: true });
    const { caFile } = await start();
    load();
    const { stdout } = await run(['curl', '-sS', '-D', '-', '--cacert', caFile, `https://${authority}/`]);
    expect(stdout).toContain('Sidekey-Error: redirect_loop');
    expect(seen).toEqual([]);
  });

  test('use the agent token of the config, and are refused without it', async () => {
    const { start, run, seen, authority, at } = await pod({
      proxy: { authentication: 'required', transparent: { token: 'file:token' } },
    });
    const { stdout } = await at.run(['agent', 'create', 'pod', '--grant', 'acme']);
    const token = /:(sidekey_agent_[\w-]{43})@/.exec(stdout)?.[1] ?? '';
    await writeFile(at.at('config', 'token'), token, { mode: 0o600 });
    const { caFile } = await start([]);
    const ask = ['curl', '-sS', '-D', '-', '--cacert', caFile, `https://${authority}/`];
    const first = await run(ask);
    expect(first).toMatchObject({ stdout: expect.stringContaining('from the upstream') });
    await writeFile(at.at('config', 'token'), 'sidekey_agent_unknown');
    expect((await run(ask)).stdout).toContain('agent_auth_required');
    expect(seen).toHaveLength(1);
  });

  test('by QUIC are refused, so that clients fall back to TCP', async () => {
    const { run, address, port } = await pod();
    const send = `import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
s.connect((sys.argv[1], int(sys.argv[2])))
try: s.send(b"x"); s.recv(1)
except OSError: print("refused")`;
    const { stdout, stderr } = await run(['python3', '-c', send, address, String(port)]);
    expect([stdout, stderr]).toEqual(['refused\n', '']);
  });
});
