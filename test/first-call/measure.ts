import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { issueLeaf, makeAuthority, validFor } from '../../examples/helpdesk/certificate.ts';

/**
 * `npm run first-call`: measures the way of a newcomer, from an empty home to the first request with a
 * credential. It packs and installs this checkout with npm. Then, in a network namespace of its own
 * (unshare), a TLS server stands for api.github.com under one of GitHub's addresses; the certificates of the
 * system contain its CA. The home has nothing but a token in GITHUB_TOKEN.
 *
 * Exit code 1: a command failed, the request had no credential, the program could read the token, or the
 * bounds of 2 commands and 60 s were exceeded. Needs Linux with user namespaces, ip (iproute2), curl and npm.
 */

const bounds = { commands: 2, seconds: 60 };
const host = 'api.github.com';
/** An address of GitHub, because Sidekey refuses private ones. It belongs to this machine here. */
const address = '140.82.112.5';
const token =
  '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newcom';
const inside = 'SIDEKEY_FIRST_CALL';

interface Ran {
  readonly command: string;
  readonly seconds: number;
  readonly stdout: string;
}

/** Runs a command of a shell, and ends this process if it fails. */
async function run(env: NodeJS.ProcessEnv, cwd: string, command: string): Promise<Ran> {
  const began = performance.now();
  const child = spawn('sh', ['-c', command], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const [[status], stdout, stderr] = await Promise.all([
    once(child, 'close'),
    text(child.stdout),
    text(child.stderr),
  ]);
  const seconds = (performance.now() - began) / 1000;
  if (status !== 0) fail(`${command}: exit code ${status}\n${stdout}${stderr}`);
  return { command, seconds, stdout };
}

function fail(why: string): never {
  console.error(`first-call: ${why}`);
  process.exit(1);
}

async function installed(folder: string): Promise<Ran> {
  execFileSync('npm', ['run', '--silent', 'build'], { stdio: 'pipe' });
  execFileSync('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', folder], {
    stdio: 'pipe',
  });
  const prefix = join(folder, 'prefix');
  const ran = await run(
    process.env,
    folder,
    `npm install --global --silent --prefix ${prefix} ./sidekey-*.tgz`,
  );
  return { ...ran, command: 'npm install -g sidekey' };
}

/** The part in the namespace. */
async function measure(folder: string): Promise<void> {
  const home = join(folder, 'home');
  mkdirSync(home);
  const authority = makeAuthority('First Call Root', validFor(1, Date.now()));
  const file = (name: string, content: string): string => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };
  const roots = '/etc/ssl/certs/ca-certificates.crt';
  const known = existsSync(roots) ? readFileSync(roots, 'utf8') : '';
  const trusted = file('roots.pem', `${known}\n${authority.cert}`);
  for (const command of [
    'ip link set lo up',
    `ip address add ${address}/32 dev lo`,
    `mount --bind ${file('hosts', `127.0.0.1 localhost\n${address} ${host}\n`)} /etc/hosts`,
    `mount --bind ${trusted} ${roots}`,
  ])
    await run(process.env, folder, command);

  const seen: (string | undefined)[] = [];
  const server = createServer(
    issueLeaf(authority, host, validFor(1, Date.now())),
    ({ headers }, response) => {
      seen.push(headers.authorization);
      const isKnown = headers.authorization === `Bearer ${token}`;
      response.writeHead(isKnown ? 200 : 401, { 'content-type': 'application/json' });
      response.end(JSON.stringify(isKnown ? { login: 'newcomer' } : { message: 'Requires authentication' }));
    },
  );
  await once(server.listen(443, address), 'listening');

  const path = `${join(folder, 'prefix', 'bin')}:${dirname(process.execPath)}:/usr/bin:/bin`;
  const env = { HOME: home, PATH: path, GITHUB_TOKEN: token, LANG: 'C.UTF-8' };
  const way = [
    await run(env, home, 'sidekey init --yes'),
    await run(env, home, `sidekey run --quiet -- curl --silent --show-error https://${host}/user`),
  ];
  const environment = await run(env, home, 'sidekey run --quiet -- env');
  server.close().closeAllConnections();

  const [, last] = way;
  if (last?.stdout !== '{"login":"newcomer"}')
    fail(`the first request had another response: ${last?.stdout}`);
  if (seen.at(-1) !== `Bearer ${token}`) fail('the first request had no credential');
  if (environment.stdout.includes(token)) fail('the program that run starts can read the token');
  writeFileSync(join(folder, 'way.json'), JSON.stringify(way));
}

function report(install: Ran, way: readonly Ran[]): void {
  const seconds = way.reduce((sum, ran) => sum + ran.seconds, 0);
  const rows = [install, ...way].map((ran) => `  ${ran.seconds.toFixed(1).padStart(5)} s  ${ran.command}`);
  console.log(['From nothing to the first request with a credential:', ...rows].join('\n'));
  console.log(
    `From an empty home: ${way.length} commands, ${seconds.toFixed(1)} s (bounds: ${bounds.commands}, ${bounds.seconds} s).`,
  );
  if (way.length > bounds.commands || seconds > bounds.seconds) fail('the way is longer than its bounds');
}

const given = process.env[inside];
if (given !== undefined) {
  await measure(given);
} else {
  const folder = mkdtempSync(join(tmpdir(), 'sidekey-first-call-'));
  try {
    const install = await installed(folder);
    const { status } = spawnSync('unshare', ['-Urnm', process.execPath, import.meta.filename], {
      env: { ...process.env, [inside]: folder },
      stdio: 'inherit',
    });
    if (status !== 0) fail('the measurement did not end well (see above)');
    const way: readonly Ran[] = JSON.parse(readFileSync(join(folder, 'way.json'), 'utf8'));
    report(install, way);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
