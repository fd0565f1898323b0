/**
 * Runs what deploy/compose and deploy/kubernetes describe, with the image of check.sh: the same containers, mounts, users and
 * limits, in network namespaces in the place of the networks of Docker and Kubernetes. Needs root.
 *
 * Arguments: a folder for files, and the command of podman with its options.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import { makeTestAuthority } from '../support/certificates.ts';

const [folder = '', ...podman] = process.argv.slice(2);
const token = 'ghp_of_the_manifests_0123456789';
const outsideHost = '10.89.9.1';
/** User and group of the image. */
const sidekeyId = 1000;
const started: string[] = [];

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
  return [
    ...[
      '--name',
      it.name,
      '--network',
      it.network,
      '--cgroups=disabled',
      '--ulimit',
      'nproc=1000:1000',
      '--ulimit',
      'nofile=4096:4096',
    ],
    ...['--cap-drop', 'ALL', '--security-opt', 'no-new-privileges'],
    ...(it.isReadOnly ? ['--read-only'] : []),
    ...(it.user === null ? [] : ['--user', it.user]),
    ...it.mounts.flatMap((mount) => ['--volume', mount]),
    ...Object.entries(it.environment).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
    ...(it.hosts ?? []).flatMap((host) => ['--add-host', host]),
    ...(it.entrypoint === undefined ? [] : ['--entrypoint', it.entrypoint]),
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

async function tryCompose(): Promise<void> {
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
  const database = await startDatabase(volumes['database-socket']!);
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
  try {
    await begin(containerOf('sidekey'));
    await healthy('compose-sidekey');
    await complete(containerOf('trust'));
    await inPodman(
      ['exec', '--interactive', 'compose-sidekey', 'sidekey', 'connect', 'github', '--token', '--no-verify'],
      token,
    );
    const created = await inPodman([
      'exec',
      'compose-sidekey',
      'sidekey',
      'agent',
      'create',
      'agent',
      '--grant',
      'github',
      '--json',
    ]);
    const { token: agentToken } = JSON.parse(created) as { readonly token: string };
    const agent = containerOf('agent');
    const filled = Object.entries(agent.environment).map(
      ([name, value]) => [name, value.replace('${SIDEKEY_TOKEN:-}', agentToken)] as const,
    );
    const said = await complete({
      ...agent,
      user: '2000:2000',
      hosts: ['sidekey:10.89.1.1'],
      environment: Object.fromEntries(filled),
      ...agentProgram,
    });
    check(
      'compose: the agent calls the API with a credential that it does not have',
      said.includes('hello from outside'),
      said,
    );
    check('compose: the credential is that of the grant', seen.splice(0).join() === `Bearer ${token}`);
    check('compose: the agent has no other way out', said.includes('no other way: ENETUNREACH'));
  } finally {
    database.kill('SIGINT');
  }
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
  for await (const piece of server.stderr!) if (String(piece).includes('ready to accept')) break;
  execFileSync(join(bin, 'createdb'), ['-h', socket, '-U', 'sidekey', 'sidekey'], {
    ...asNobody,
    stdio: 'ignore',
  });
  return server;
}

interface PodContainer {
  readonly name: string;
  readonly image: string;
  readonly args?: readonly string[];
  readonly restartPolicy?: string;
  readonly env?: readonly { readonly name: string; readonly value: string }[];
  readonly volumeMounts: readonly {
    readonly name: string;
    readonly mountPath: string;
    readonly readOnly?: boolean;
  }[];
  readonly securityContext: {
    readonly runAsUser: number;
    readonly runAsGroup: number;
    readonly readOnlyRootFilesystem?: boolean;
  };
}

interface PodSpec {
  readonly securityContext: { readonly fsGroup: number };
  readonly initContainers: readonly PodContainer[];
  readonly containers: readonly PodContainer[];
  readonly volumes: readonly {
    readonly name: string;
    readonly emptyDir?: object;
    readonly configMap?: { readonly name: string };
    readonly secret?: { readonly secretName: string; readonly defaultMode: number };
  }[];
}

async function tryKubernetes(): Promise<void> {
  const documents = parseAllDocuments(readFileSync('deploy/kubernetes/sidecar.yaml', 'utf8'), {
    merge: true,
  }).map(
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
  const { fsGroup } = spec.securityContext;
  const pod = namespace('sk-pod');
  cable(pod, '10.89.8.2', null, '10.89.8.1');
  ip('-n', pod, 'route', 'add', 'default', 'via', '10.89.8.1');
  const volumes = new Map(
    spec.volumes.map(({ name, configMap, secret }) => {
      // As the kubelet makes it.
      const path = volume(`pod-${name}`, 0, fsGroup, 0o2777);
      const write = (file: string, text: string, mode: number) => {
        writeFileSync(join(path, file), text);
        chownSync(join(path, file), 0, fsGroup);
        chmodSync(join(path, file), mode);
      };
      if (configMap !== undefined) {
        chmodSync(path, 0o755);
        const { data = {} } = documents.find(({ kind }) => kind === 'ConfigMap')!;
        write('sidekey.yaml', configWith(data['sidekey.yaml']!, 'outside.pem'), 0o644);
        write('outside.pem', authority.cert, 0o644);
      }
      if (secret !== undefined) write('github', token, secret.defaultMode);
      return [name, path] as const;
    }),
  );
  const containerOf = (it: PodContainer): Container => ({
    name: `pod-${it.name}`,
    image: 'localhost/sidekey',
    command: it.args ?? [],
    network: `ns:/run/netns/${pod}`,
    user: `${it.securityContext.runAsUser}:${it.securityContext.runAsGroup}`,
    isReadOnly: it.securityContext.readOnlyRootFilesystem === true,
    mounts: it.volumeMounts.map(
      ({ name, mountPath, readOnly }) => `${volumes.get(name)}:${mountPath}${readOnly === true ? ':ro' : ''}`,
    ),
    environment: Object.fromEntries((it.env ?? []).map(({ name, value }) => [name, value])),
  });
  for (const it of spec.initContainers) {
    if (it.restartPolicy !== 'Always') await complete(containerOf(it));
    else {
      await begin(containerOf(it));
      await healthy(`pod-${it.name}`);
    }
  }
  const [agent] = spec.containers;
  const said = await complete({ ...containerOf(agent!), ...agentProgram });
  check(
    'kubernetes: the agent calls the API with a credential of a Secret',
    said.includes('hello from outside'),
    said,
  );
  check('kubernetes: the credential is that of the Secret', seen.splice(0).join() === `Bearer ${token}`);
  const own = volumes.get('data')!;
  const files = run('find', [own, '-type', 'f', '-perm', '/007'])
    .split('\n')
    .filter((file) => /key|sidekey\.db/.test(file));
  check('kubernetes: the files with secrets are closed to the user of the agent', files.length === 0);
}

upstream.listen(443, '0.0.0.0');
await once(upstream, 'listening');
try {
  await tryCompose();
  await tryKubernetes();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  for (const name of started) console.error(name, logsOf(name));
  process.exitCode = 1;
} finally {
  for (const name of started) await inPodman(['rm', '--force', '--time', '5', name]);
  upstream.close();
  upstream.closeAllConnections();
  for (const name of ['sk-agent', 'sk-sidekey', 'sk-pod'])
    run('sh', ['-c', `ip netns del ${name} 2>/dev/null || true`]);
}
