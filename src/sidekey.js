#!/usr/bin/env node
// The launcher. Plain JavaScript that Node.js 20 can read: an older one than 24.15 starts the Node.js of the
// package.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import module from 'node:module';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
const root = new URL('..', import.meta.url);
if (existsSync(new URL('src/cli/index.ts', root)) && !existsSync(new URL('node_modules/commander', root)))
  say('the libraries of this checkout are not installed', `npm ci --prefix ${fileURLToPath(root)}`);
else if (major > 24 || (major === 24 && minor >= 15)) await start();
else startNewer();

async function start() {
  // A checkout has its sources, a package has them compiled: Node strips no types below node_modules.
  const entry = ['./cli/index.ts', './cli/index.js', '../dist/cli/index.js'].find((each) =>
    existsSync(new URL(each, import.meta.url)),
  );
  // V8's young generation stays at 1 MB until `start` serves (decision 146). Set before the cache.
  setFlagsFromString('--semi-space-growth-factor=1');
  // Not in the shared temporary folder, where others could put code for us to run: whoever may write here may
  // change the program too. Where nobody may, there is no cache, and a start takes longer.
  module.enableCompileCache(fileURLToPath(new URL('../node_modules/.cache/sidekey', import.meta.url)));
  const { run } = await import(entry);
  if (process.argv[2] !== 'start') setFlagsFromString('--semi-space-growth-factor=2');
  process.exitCode = await run(process.argv.slice(2));
}

/** Runs this program with the Node.js that npm installed with it as an optional dependency. */
function startNewer() {
  const node = newerNode();
  if (node === null) return fail('npm has not installed the Node.js that comes with Sidekey');
  // The dynamic linker that the binary names: a system of musl, such as Alpine, has another one.
  const linker = { x64: '/lib64/ld-linux-x86-64.so.2', arm64: '/lib/ld-linux-aarch64.so.1' }[process.arch];
  if (process.platform === 'linux' && linker !== undefined && !existsSync(linker)) {
    return fail('the one that comes with Sidekey needs the GNU C library, which this system does not have');
  }
  const args = [fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  if (process.execve !== undefined && process.platform !== 'win32') {
    // `execve` warns that it is experimental.
    process.removeAllListeners('warning');
    process.execve(node, [node, ...args], process.env);
  }
  const child = spawn(node, args, { stdio: 'inherit' });
  child.once('error', (error) => fail(`the one that comes with Sidekey does not start (${error.code})`));
  // A terminal sends its signals to the child too; it decides what comes of them.
  for (const signal of ['SIGINT', 'SIGQUIT']) process.on(signal, () => {});
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGUSR2', 'SIGCONT', 'SIGWINCH'])
    process.on(signal, () => child.kill(signal));
  child.once('exit', (code, signal) => {
    if (signal === null) process.exit(code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
    process.exitCode = 128 + constants.signals[signal];
  });
}

function newerNode() {
  const name = process.platform === 'darwin' && process.arch === 'arm64' ? 'node-bin' : 'node';
  const platform = process.platform === 'win32' ? 'win' : process.platform;
  const program = process.platform === 'win32' ? 'node.exe' : 'node';
  try {
    const { resolve } = module.createRequire(import.meta.url);
    return resolve(`${name}-${platform}-${process.arch}/bin/${program}`);
  } catch {
    return null;
  }
}

function fail(why) {
  say(
    `Sidekey needs Node.js 24.15 or later; this is ${process.versions.node}, and ${why}`,
    'install a current Node.js, then run the same command again',
  );
}

function say(sentence, hint) {
  process.stderr.write(`sidekey: ${sentence}.\n  → ${hint}\n`);
  process.exitCode = 1;
}
