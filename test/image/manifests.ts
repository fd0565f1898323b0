/**
 * Runs what deploy/compose and deploy/kubernetes describe, with the image of check.sh: the same containers,
 * mounts, users and limits, in network namespaces in the place of the networks of Docker and Kubernetes.
 * Needs root.
 *
 * Arguments: a folder for files, and the command of podman with its options. SIDEKEY_TEST_CHART: a rendered
 * chart, whose store is postgres://sidekey@/sidekey?host=/run/postgresql.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { parse, parseAllDocuments } from 'yaml';
import { makeTestAuthority } from '../support/certificates.ts';

const [folder = '', ...podman] = process.argv.slice(2);
const token = 'ghp_of_the_manifests_0123456789';
const outsideHost = '10.89.9.1';
/** User and group of the image. */
const sidekeyId = 1000;
const started: string[] = [];
const databases: ChildProcess[] = [];

const run = (program: string, args: readonly string[], input?: string): string =>
  execFileSync(program, args, { encoding: 'utf8', input, stdio: ['pipe', 'pipe', 'pipe'] });
/** Not synchronous: this process answers in the place of the outside. */
async function inPodman(args: readonly string[], input = ''): Promise<string> {
  const child = spawn(podman[0]!, [...podman.slice(1), ...args]);
  let [said, error] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (error += text));
  child.stdin.end(input);
  const [code] = (await once(child, 'close')) as [number];
  if (code !== 0) throw new Error(`podman ${args.join(' ')}: ${error}${said}`);
  return said;
}

const logsOf = (name: string) => run('sh', ['-c', '"$@" 2>&1', 'sh', ...podman, 'logs', name]);
const ip = (...args: readonly string[]) => run('ip', args);

function check(what: string, isSo: boolean, said = ''): void {
  if (!isSo) throw new Error(`manifests: not so: ${what}${said === '' ? '' : `: ${said}`}`);
  console.log(`manifests: ${what}`);
}

/** Connects two namespaces; the second may be that of this process. */
function cable(one: string, oneAddress: string, other: string | null, otherAddress: string): void {
  const name = `v${oneAddress.split('.').slice(2).join('')}`.slice(0, 12);
  ip('link', 'add', `${name}a`, 'type', 'veth', 'peer', 'name', `${name}b`);
  for (const [end, space, address] of [
    [`${name}a`, one, oneAddress],
    [`${name}b`, other, otherAddress],
  ] as const) {
    if (space !== null) ip('link', 'set', end, 'netns', space);
    const there = space === null ? [] : ['-n', space];
    ip(...there, 'address', 'add', `${address}/24`, 'dev', end);
    ip(...there, 'link', 'set', end, 'up');
  }
}

function namespace(name: string): string {
  ip('netns', 'add', name);
  ip('-n', name, 'link', 'set', 'lo', 'up');
  return name;
}

/** A folder in the place of a volume. @param owner of the group, as `fsGroup` does */
function volume(name: string, owner: number, group: number, mode: number): string {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  chownSync(path, owner, group);
  chmodSync(path, mode);
  return path;
}

/** A container, as both kinds of manifests have it. */
interface Container {
  readonly name: string;
  readonly image: string;
  readonly entrypoint?: string;
  readonly command: readonly string[];
  readonly network: string;
  readonly user: string | null;
  readonly isReadOnly: boolean;
  readonly mounts: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly hosts?: readonly string[];
}

function argsOf(it: Container): string[] {
  const fixed =
    '--cgroups=disabled --ulimit nproc=1000:1000 --ulimit nofile=4096:4096 --cap-drop ALL --security-opt no-new-privileges';
  return [
    ...`--name ${it.name} --network ${it.network} ${fixed}`.split(' '),
    ...(it.isReadOnly ? ['--read-only'] : []),
    ...(it.user === null ? [] : ['--user', it.user]),
    ...it.mounts.flatMap((mount) => ['--volume', mount]),
    ...Object.entries(it.environment).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
    ...(it.hosts ?? []).flatMap((host) => ['--add-host', host]),
    // An agent's image has a working folder that its user may read, which that of Sidekey is not.
    ...(it.entrypoint === undefined ? [] : ['--entrypoint', it.entrypoint, '--workdir', '/']),
    it.image,
    ...it.command,
  ];
}

async function begin(it: Container): Promise<void> {
  await inPodman(['run', '--detach', ...argsOf(it)]);
  started.push(it.name);
}
const complete = (it: Container) => inPodman(['run', '--rm', ...argsOf(it)]);

async function healthy(name: string): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await inPodman([
        'exec',
        name,
        '/bin/busybox',
        'wget',
        '-q',
        '-Y',
        'off',
        '-O',
        '/dev/null',
        'http://127.0.0.1:8377/healthz',
      ]);
      return;
    } catch (error) {
      if (attempt === 100) {
        throw new Error(`${name} is not healthy`, { cause: error });
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

const authority = makeTestAuthority('outside');
const seen: (string | undefined)[] = [];
const { cert, key } = authority.issue(['api.github.com']);
const upstream = createServer({ cert, key }, (request, response) => {
  seen.push(request.headers.authorization);
  response.end('hello from outside');
});

/** The config of a manifest, with where the outside is in this test. */
function configWith(text: string, certificate: string): string {
  const upstreamOf = {
    ca: [certificate],
    resolve: { 'api.github.com': outsideHost },
    private_addresses: [outsideHost],
  };
  return `${text}\nupstream: ${JSON.stringify(upstreamOf)}\n`;
}

/** An agent, with the Node.js of the image: calls the API, then tries to go there without the proxy. */
const agentProgram = {
  entrypoint: 'node',
  command: [
    '-e',
    `const { connect } = require('node:net');
    fetch('https://api.github.com/user').then((it) => it.text()).then(console.log, console.log).then(() => {
      const past = connect(443, '${outsideHost}');
      past.setTimeout(2000, () => past.destroy(new Error('timeout')));
      past.on('connect', () => { console.log('past the proxy'); past.destroy(); });
      past.on('error', (error) => console.log('no other way:', error.code ?? error.message));
    });`,
  ],
};

/** Parts for a second proxy with the same store, and a function that calls the API of a proxy. */
interface Shared {
  readonly socket: string;
  readonly secrets: Readonly<Record<string, string>>;
  readonly call: (proxy: string) => Promise<string>;
}

async function tryCompose(): Promise<Shared> {
  const { services } = parse(readFileSync('deploy/compose/compose.yaml', 'utf8')) as {
    readonly services: Readonly<Record<string, ComposeService>>;
  };
  const [agents, beside] = [namespace('sk-agent'), namespace('sk-sidekey')];
  cable(agents, '10.89.1.2', beside, '10.89.1.1');
  cable(beside, '10.89.9.2', null, outsideHost);
  const volumes: Readonly<Record<string, string>> = {
    data: volume('compose-data', sidekeyId, sidekeyId, 0o700),
    trust: volume('compose-trust', sidekeyId, sidekeyId, 0o755),
    'database-socket': volume('compose-socket', sidekeyId, sidekeyId, 0o1777),
    './config': volume('compose-config', 0, 0, 0o755),
  };
  cpSync('deploy/compose/config', volumes['./config']!, { recursive: true });
  const config = join(volumes['./config']!, 'sidekey.yaml');
  writeFileSync(config, configWith(readFileSync(config, 'utf8'), '/data/config/outside.pem'));
  writeFileSync(join(volumes['./config']!, 'outside.pem'), authority.cert);
  databases.push(await startDatabase(volumes['database-socket']!));
  const networks: Readonly<Record<string, string>> = { agent: agents, sidekey: beside };
  const containerOf = (name: string, environment: Readonly<Record<string, string>> = {}): Container => {
    const it = services[name]!;
    return {
      name: `compose-${name}`,
      image: 'localhost/sidekey',
      command: it.command ?? [],
      network: it.network_mode === 'none' ? 'none' : `ns:/run/netns/${networks[name]}`,
      user: null,
      isReadOnly: it.read_only === true,
      mounts: (it.volumes ?? []).map((each) => {
        const [from = '', ...to] = each.split(':');
        return [volumes[from], ...to].join(':');
      }),
      environment: { ...it.environment, ...environment },
    };
  };
  await begin(containerOf('sidekey'));
  await healthy('compose-sidekey');
  await complete(containerOf('trust'));
  await inSidekey(['connect', 'github', '--token', '--no-verify'], token);
  const created = await inSidekey(['agent', 'create', 'agent', '--grant', 'github', '--json']);
  const { token: agentToken } = JSON.parse(created) as { readonly token: string };
  const agent = containerOf('agent');
  const filled = Object.entries(agent.environment).map(
    ([name, value]) => [name, value.replace('${SIDEKEY_TOKEN:-}', agentToken)] as const,
  );
  const call = (proxy: string) =>
    complete({
      ...agent,
      user: '2000:2000',
      hosts: [`sidekey:${proxy}`],
      environment: Object.fromEntries(filled),
      ...agentProgram,
    });
  const said = await call('10.89.1.1');
  check('compose: the agent calls the API with a credential that it does not have', isAnswered(said), said);
  check('compose: the agent has no other way out', said.includes('no other way: ENETUNREACH'), said);
  const { data } = volumes;
  const secretOf = (path: string) => readFileSync(join(data!, path), 'latin1');
  return {
    socket: volumes['database-socket']!,
    secrets: {
      'master.key': secretOf('master.key'),
      'ca.crt': secretOf('certs/ca.crt'),
      'ca.key': secretOf('certs/ca.key'),
    },
    call,
  };
}

const inSidekey = (args: readonly string[], input?: string) =>
  inPodman(['exec', '--interactive', 'compose-sidekey', 'sidekey', ...args], input);

/** Reports whether the API answered, and had the credential once. */
function isAnswered(said: string): boolean {
  return said.includes('hello from outside') && seen.splice(0).join() === `Bearer ${token}`;
}

interface ComposeService {
  readonly image: string;
  readonly command?: readonly string[];
  readonly read_only?: boolean;
  readonly network_mode?: string;
  readonly volumes?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

/** A PostgreSQL without a network, with its socket in this folder. */
async function startDatabase(socket: string): Promise<ChildProcess> {
  const bin = run('sh', ['-c', 'ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1']).trim();
  const data = volume('compose-database', 65_534, 65_534, 0o700);
  const asNobody = { uid: 65_534, gid: 65_534, cwd: data };
  execFileSync(join(bin, 'initdb'), ['-D', join(data, 'pg'), '-U', 'sidekey', '--auth=trust', '--no-sync'], {
    ...asNobody,
    stdio: 'ignore',
  });
  const options = ['-D', join(data, 'pg'), '-k', socket, '-c', 'listen_addresses='];
  const server = spawn(join(bin, 'postgres'), options, { ...asNobody, stdio: ['ignore', 'ignore', 'pipe'] });
  for await (const piece of server.stderr) if (String(piece).includes('ready to accept')) break;
  execFileSync(join(bin, 'createdb'), ['-h', socket, '-U', 'sidekey', 'sidekey'], {
    ...asNobody,
    stdio: 'ignore',
  });
  return server;
}

interface PodContainer {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly restartPolicy?: string;
  readonly env?: readonly { readonly name: string; readonly value: string }[];
  readonly volumeMounts: readonly {
    readonly name: string;
    readonly mountPath: string;
    readonly readOnly?: boolean;
  }[];
  readonly securityContext: {
    readonly runAsUser?: number;
    readonly runAsGroup?: number;
    readonly readOnlyRootFilesystem?: boolean;
  };
}

interface PodSpec {
  readonly securityContext: {
    readonly fsGroup: number;
    readonly runAsUser?: number;
    readonly runAsGroup?: number;
  };
  readonly initContainers?: readonly PodContainer[];
  readonly containers: readonly PodContainer[];
  readonly volumes: readonly {
    readonly name: string;
    readonly emptyDir?: object;
    readonly configMap?: { readonly name: string };
    readonly secret?: { readonly secretName: string; readonly defaultMode: number };
    readonly projected?: object;
  }[];
}

/** Gives a namespace a way to the outside. */
function connectOutside(space: string, network: string): void {
  cable(space, `${network}.2`, null, `${network}.1`);
  ip('-n', space, 'route', 'add', 'default', 'via', `${network}.1`);
}

/** A pod of a manifest, in a namespace of its own. */
function openPod(
  file: string,
  name: string,
  secrets: Readonly<Record<string, string>>,
  mounts: readonly string[] = [],
) {
  const documents = parseAllDocuments(readFileSync(file, 'utf8'), { merge: true }).map(
    (it) =>
      it.toJS() as {
        readonly kind: string;
        readonly data?: Readonly<Record<string, string>>;
        readonly spec?: unknown;
      },
  );
  const { template } = documents.find(({ kind }) => kind === 'Deployment')!.spec as {
    readonly template: { readonly spec: PodSpec };
  };
  const { spec } = template;
  const { fsGroup, runAsUser, runAsGroup } = spec.securityContext;
  const pod = namespace(`sk-${name}`);
  const volumes = new Map(
    spec.volumes.map((each) => {
      // In the form that the kubelet creates.
      const path = volume(`${name}-${each.name}`, 0, fsGroup, each.secret === undefined ? 0o2777 : 0o3777);
      const write = (called: string, text: string, mode: number) => {
        writeFileSync(join(path, called), text, 'latin1');
        chownSync(join(path, called), 0, fsGroup);
        chmodSync(join(path, called), mode);
      };
      const { data } = documents.find(({ kind }) => kind === 'ConfigMap') ?? {};
      if (each.configMap !== undefined) chmodSync(path, 0o755);
      if (each.configMap !== undefined && data !== undefined) {
        write('sidekey.yaml', configWith(data['sidekey.yaml']!, 'outside.pem'), 0o644);
        write('outside.pem', authority.cert, 0o644);
      } else if (each.emptyDir === undefined)
        for (const [called, text] of Object.entries(secrets))
          write(called, text, each.secret?.defaultMode ?? (each.projected === undefined ? 0o644 : 0o440));
      return [each.name, path] as const;
    }),
  );
  const containerOf = (it: PodContainer): Container => ({
    name: `${name}-${it.name}`,
    image: 'localhost/sidekey',
    command: it.args ?? [],
    network: `ns:/run/netns/${pod}`,
    user: `${it.securityContext.runAsUser ?? runAsUser}:${it.securityContext.runAsGroup ?? runAsGroup}`,
    isReadOnly: it.securityContext.readOnlyRootFilesystem === true,
    mounts: [
      ...it.volumeMounts.map(
        (each) => `${volumes.get(each.name)}:${each.mountPath}${each.readOnly === true ? ':ro' : ''}`,
      ),
      ...mounts,
    ],
    environment: Object.fromEntries((it.env ?? []).map((each) => [each.name, each.value])),
  });
  return { pod, spec, volumes, containerOf };
}

async function trySidecar(): Promise<void> {
  const { pod, spec, volumes, containerOf } = openPod('deploy/kubernetes/sidecar.yaml', 'pod', {
    github: token,
  });
  connectOutside(pod, '10.89.21');
  for (const it of spec.initContainers ?? []) {
    if (it.restartPolicy !== 'Always') await complete(containerOf(it));
    else {
      await begin(containerOf(it));
      await healthy(`pod-${it.name}`);
    }
  }
  const said = await complete({ ...containerOf(spec.containers[0]!), ...agentProgram });
  check('kubernetes: the agent calls the API with the credential of a Secret', isAnswered(said), said);
  const files = run('find', [volumes.get('data')!, '-type', 'f', '-perm', '/007'])
    .split('\n')
    .filter((file) => /key|sidekey\.db/.test(file));
  check('kubernetes: the files with secrets are closed to the user of the agent', files.length === 0);
}

/**
 * Runs a pod of the chart with the store of compose, as a second proxy; then an agent that a service account
 * identifies.
 */
async function tryChart(file: string, { socket, secrets, call }: Shared): Promise<void> {
  const { publicKey, privateKey } = await generateKeyPair('ES256');
  const key = { ...(await exportJWK(publicKey)), alg: 'ES256', kid: 'cluster' };
  const all = { ...secrets, 'keys.json': JSON.stringify({ keys: [key] }) };
  const gateway = openPod(file, 'chart', all, [`${socket}:/run/postgresql`]);
  connectOutside(gateway.pod, '10.89.20');
  cable('sk-agent', '10.89.3.2', gateway.pod, '10.89.3.1');
  await begin(gateway.containerOf(gateway.spec.containers[0]!));
  await healthy('chart-sidekey');
  const said = await call('10.89.3.1');
  check(
    'helm: a pod of the chart serves the agents of the same store, with its Secret',
    isAnswered(said),
    said,
  );

  await inSidekey(['agent', 'create', 'runner', '--no-token', '--grant', 'github']);
  const identity = await new SignJWT()
    .setProtectedHeader({ alg: 'ES256', kid: 'cluster' })
    .setIssuer('https://kubernetes.default.svc.cluster.local')
    .setAudience('sidekey.example.com')
    .setSubject('system:serviceaccount:agents:runner')
    .setIssuedAt()
    .setExpirationTime('2h')
    .sign(privateKey);
  const own = { token: identity, 'ca.crt': secrets['ca.crt'] ?? '' };
  const runner = openPod('deploy/kubernetes/agent.yaml', 'runner', own);
  cable(runner.pod, '10.89.4.2', gateway.pod, '10.89.4.1');
  await complete(runner.containerOf(runner.spec.initContainers![0]!));
  const [program] = runner.spec.containers;
  const answered = await complete({
    ...runner.containerOf(program!),
    hosts: ['proxy.proxy:10.89.4.1'],
    entrypoint: '/bin/busybox',
    command: [...program!.command!, program!.args![0]!.replace('exec agent', 'exec node -e "$AGENT"')],
    environment: { AGENT: agentProgram.command[1]! },
  });
  check('kubernetes: an agent calls the API as its service account', isAnswered(answered), answered);
  check(
    'kubernetes: that agent has no other way out',
    answered.includes('no other way: ENETUNREACH'),
    answered,
  );
}

upstream.listen(443, '0.0.0.0');
await once(upstream, 'listening');
try {
  const shared = await tryCompose();
  const chart = process.env['SIDEKEY_TEST_CHART'];
  if (chart !== undefined) await tryChart(chart, shared);
  await trySidecar();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  for (const name of started) console.error(name, logsOf(name));
  process.exitCode = 1;
} finally {
  for (const name of started) await inPodman(['rm', '--force', '--time', '5', name]);
  for (const each of databases) each.kill('SIGINT');
  upstream.close();
  upstream.closeAllConnections();
  for (const name of ['sk-agent', 'sk-sidekey', 'sk-pod', 'sk-chart', 'sk-runner'])
    run('sh', ['-c', `ip netns del ${name} 2>/dev/null || true`]);
}
