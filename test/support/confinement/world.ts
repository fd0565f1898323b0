/** A machine to attack: folders of a person, of Sidekey and of other programs, and servers that listen. */
import { execFileSync, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { stringify } from 'yaml';
import { findMechanisms, type Mechanisms } from '../../../src/clients/confine/confine.ts';
import { landlockVersion } from '../../../src/clients/confine/landlock.ts';
import { packageRoot } from '../../../src/lib/package-files.ts';
import { compileCache } from '../built-program.ts';
import { tempFolder } from '../temp-folder.ts';
import { secret, type Target } from './attempt.ts';
import type { Job } from './outer.ts';

const bubblewrap = await findMechanisms(process.env).then(
  (mechanisms) => mechanisms.bubblewrap,
  () => null,
);
const hasLandlock = (await landlockVersion()) >= 6;

/** Confinement modes by name; null: this machine does not support the mode. */
export const modes: Readonly<Record<'bubblewrap' | 'landlock' | 'both', Mechanisms | null>> = {
  bubblewrap: bubblewrap === null ? null : { bubblewrap, landlock: false },
  landlock: hasLandlock ? { bubblewrap: null, landlock: true } : null,
  both: bubblewrap === null || !hasLandlock ? null : { bubblewrap, landlock: true },
};

export type Mode = keyof typeof modes;

export interface World {
  readonly target: Target;
  readonly config: string;
  readonly env: Readonly<Record<string, string>>;
}

/** Places of a world, relative to its folder. */
export interface Places {
  /** True if the world is below `/tmp`, which is private to each run. */
  readonly isTemporary?: boolean;
  readonly home?: string;
  readonly project?: string;
  readonly sidekey?: string;
  readonly clientSecret?: string;
}

/** Creates a world, which ends with the test. */
export async function makeWorld(places: Places = {}): Promise<World> {
  const base =
    places.isTemporary === true
      ? await tempFolder()
      : mkdtempSync(join(packageRoot, 'node_modules', '.world-'));
  onTestFinished(() => rmSync(base, { recursive: true, force: true }));
  const home = join(base, places.home ?? 'home');
  const project = join(base, places.project ?? 'project');
  const sidekey = join(base, places.sidekey ?? 'sidekey');
  const outside = join(base, 'outside');
  const temp = await tempFolder();
  const config = join(sidekey, 'config/sidekey.yaml');
  for (const name of hiddenInHome) put(join(home, name));
  for (const name of plainInHome) put(join(home, name), '{}\n');
  for (const name of ['data/master.key', 'data/sidekey.db', 'data/audit.jsonl', 'certs/ca.key'])
    put(join(sidekey, name));
  const clientSecret = join(base, places.clientSecret ?? 'outside/secrets/client.secret');
  const key = join(outside, 'tls/admin.key');
  const settings = {
    proxy: { listen: '127.0.0.1:0' },
    admin: { listen: '127.0.0.1:0', tls: { cert: join(outside, 'tls/admin.pem'), key } },
    providers: { desk: provider(clientSecret) },
  };
  put(config, `${stringify({ version: 1, ...settings })}# ${secret}\n`);
  put(
    join(sidekey, 'config/providers/team.yaml'),
    stringify({ ...aTeam, ...provider(join(outside, 'definition.secret')) }),
  );
  for (const path of [clientSecret, key, join(outside, 'definition.secret')]) put(path);
  put(join(outside, 'aws-credentials'));
  put(join(outside, 'project/index.js'), '');
  for (const name of ['secret', 'sidekey-run-other/trust/ca.pem']) put(join(temp, name));
  mkdirSync(join(home, '.cache/pip'), { recursive: true });
  makeProject(project, home);
  symlinkSync(join(home, '.ssh'), join(project, 'link-to-ssh'));
  symlinkSync(join(temp, 'agent.sock'), join(project, 'link-to-socket'));
  symlinkSync('.netrc', join(home, 'link-to-netrc'));
  symlinkSync('dotfiles/npmrc', join(home, '.npmrc'));

  const abstractName = `sidekey-test-${process.pid}-${base.slice(-6)}`;
  const paths = [
    join(temp, 'agent.sock'),
    join(home, '.local/share/agent.sock'),
    join(project, 'server.sock'),
  ];
  for (const path of [...paths, `\0${abstractName}`]) await listen(path);
  const server = await listen({ port: 0, host: '127.0.0.1' });
  const datagrams = createSocket('udp4', (_message, { port }) => datagrams.send('x', port, '127.0.0.1'));
  datagrams.bind(0, '127.0.0.1');
  await once(datagrams, 'listening');
  onTestFinished(() => void datagrams.close());
  const victim = spawn(
    process.execPath,
    [support('victim.ts'), join(home, '.local/share/datagram.sock'), secret],
    { cwd: project, env: { SECRET: secret }, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] },
  );
  onTestFinished(() => victim.disconnect());
  await once(victim, 'message');
  return {
    target: {
      home,
      project,
      sidekey,
      outside,
      clientSecret,
      temp,
      abstractName,
      tcpPort: (server.address() as AddressInfo).port,
      udpPort: datagrams.address().port,
      outerPid: 0,
      victimPid: victim.pid!,
    },
    config,
    env: {
      PATH: '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin',
      HOME: home,
      AWS_SHARED_CREDENTIALS_FILE: join(outside, 'aws-credentials'),
      GIT_CONFIG_NOSYSTEM: '1',
      // No attempt reaches the repository that the tests are in.
      GIT_CEILING_DIRECTORIES: base,
    },
  };
}

/** A definition with a client secret in a file. */
function provider(file: string) {
  const endpoint = 'https://id.desk.test/token';
  return { token_endpoint: endpoint, audience: ['desk.test'], client_id: 'x', client_secret: `file:${file}` };
}

const aTeam = { title: 'Team', category: 'generic', docs: ['https://desk.test/'] };

function put(path: string, text = secret): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(path, text, { mode: 0o600 });
}

const hiddenInHome = [
  '.ssh/id_ed25519',
  '.netrc',
  'snap/token',
  '.config/gh/hosts.yml',
  'dotfiles/npmrc',
  '.config/sidekey/sidekey.yaml',
  '.local/state/sidekey/data/master.key',
];
const plainInHome = [
  '.bashrc',
  '.profile',
  '.claude/settings.json',
  '.cargo/config.toml',
  '.local/bin/tool',
  '.local/share/notes',
];

function makeProject(project: string, home: string): void {
  for (const name of ['.vscode/tasks.json', '.envrc', 'tools/hooks/pre-commit', 'included.gitconfig'])
    put(join(project, name), '');
  put(join(project, 'nested/of-user.gitconfig'), '');
  put(join(project, 'tools/monitor'), '#!/bin/sh\n');
  chmodSync(join(project, 'tools/monitor'), 0o755);
  put(join(home, '.gitconfig'), `[include] path = "${join(project, 'nested/of-user.gitconfig')}" ; mine\n`);
  const git = (...words: readonly string[]) =>
    execFileSync('git', ['-C', project, ...words], {
      env: { PATH: process.env['PATH'], HOME: home, GIT_CEILING_DIRECTORIES: dirname(project) },
      stdio: 'pipe',
    });
  git('init', '--quiet', '--initial-branch=main');
  git('-c', 'user.name=x', '-c', 'user.email=x@x', 'commit', '--quiet', '--allow-empty', '-m', 'x');
  git('worktree', 'add', '--quiet', `${project}-side`, '-b', 'side');
  renameSync(
    join(project, '.git/worktrees', readdirSync(join(project, '.git/worktrees'))[0]!),
    join(project, '.git/worktrees/side'),
  );
  put(join(project, '.git/hooks/post-commit'), '');
  appendFileSync(
    join(project, '.git/config'),
    `[include]path=../included.gitconfig\n[core] hooksPath = tools/hooks # checked in\n[extensions]\n\tworktreeConfig = true\n[core]\n\tfsmonitor = tools/monitor\n`,
  );
}

async function listen(to: string | { readonly port: number; readonly host: string }) {
  const server = createServer((socket) => socket.destroy()).listen(to);
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  return server;
}

function support(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

export interface Outcome {
  /** Result of each attempt: null if it succeeded. */
  readonly results: Readonly<Record<string, string | null>>;
  /** Paths that the command made and that run outside later. */
  readonly born: readonly string[];
}

/** Makes all attempts in a mode; null: without confinement. */
export async function attack(world: World, mechanisms: Mechanisms | null): Promise<Outcome> {
  const { target, config, env } = world;
  const job: Job = {
    config,
    env: { ...env, APART: mechanisms?.bubblewrap == null ? '0' : '1' },
    folder: target.project,
    mechanisms,
    words: [process.execPath, support('inside.ts'), JSON.stringify(target)],
    exceptions: { show: [], write: [], socket: [] },
  };
  const end = await runOuter(job, join(target.outside, 'aws-credentials'));
  return { results: JSON.parse(/^results=(.*)$/m.exec(end.output)?.[1] ?? ''), born: end.born };
}

/** Runs a job. A descriptor of a secret file is open in the process that starts it, as 7 and as 40. */
export async function runOuter(
  job: Job,
  secretFile = '/dev/null',
): Promise<{ code: number; born: string[]; output: string }> {
  const open = openSync(secretFile, 'r');
  const stdio: (string | number)[] = ['ignore', 'pipe', 'pipe', 'ipc'];
  while (stdio.length < 41) stdio.push(stdio.length === 7 || stdio.length === 40 ? open : 'ignore');
  const outer = spawn(process.execPath, [support('outer.ts'), JSON.stringify(job)], {
    cwd: job.folder,
    env: { ...compileCache, ...job.env, SECRET: secret },
    stdio: stdio as 'pipe'[],
    detached: true,
  });
  closeSync(open);
  onTestFinished(() => void outer.kill('SIGKILL'));
  let output = '';
  for (const stream of [outer.stdout, outer.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  let end: object = {};
  outer.once('message', (message) => (end = message as object));
  await once(outer, 'close');
  if (!('born' in end)) throw new Error(`The run failed: ${output}`);
  return { ...(end as { code: number; born: string[] }), output };
}
