import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { programFailure, runBounded } from '../../../src/lib/programs.ts';

/** Runs a script of Node. */
function run(code: string, more: { input?: string; signal?: AbortSignal } = {}) {
  const bounds = { timeoutMs: 20_000, maxBytes: 1_000 };
  return runBounded({
    argv: [process.execPath, '-e', code],
    cwd: process.cwd(),
    env: {},
    ...bounds,
    ...more,
  });
}

test('a run returns its output, its exit code and the beginning of its error output, and receives its input', async () => {
  const code =
    "process.stdin.on('data', (text) => process.stdout.write(`got ${text}`)).on('end', () => { process.exitCode = 3; process.stderr.write('x'.repeat(1e6)); })";
  const end = await run(code, { input: 'a\n' });
  expect(end).toMatchObject({ kind: 'ended', code: 3, signal: null, error: 'x'.repeat(4_096) });
  expect('output' in end && end.output.toString()).toBe('got a\n');
  expect(programFailure(end, 1)).toBe('ended with exit code 3');
});

test('a program that does not read its input does not fail', async () => {
  expect(await run('', { input: 'x'.repeat(1_000_000) })).toMatchObject({ kind: 'ended', code: 0 });
});

/** Variables that Node.js sets for each process on Windows, and those of Wine. */
const ofWindows =
  /^(?:HOMEDRIVE|HOMEPATH|LOGONSERVER|PATH|SYSTEMDRIVE|SYSTEMROOT|TEMP|USERDOMAIN|USERNAME|USERPROFILE|WINDIR|PROCESSOR_ARCHITECTURE|WINE.*)$/i;

test('a run has only the variables that it is given', async () => {
  const end = await run('process.stdout.write(Object.keys(process.env).join())');
  const names = 'output' in end ? end.output.toString().split(',') : [];
  const isWindows = process.platform === 'win32';
  expect(names.filter((name) => !isWindows || !ofWindows.test(name))).toEqual(isWindows ? [] : ['']);
});

test('a signal ends a run and its children', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const connected = once(server, 'connection') as Promise<[Socket]>;
  const child = `require('node:net').connect(${port}, '127.0.0.1').resume()`;
  const stop = new AbortController();
  const running = run(
    `require('node:child_process').spawn(process.execPath, ['-e', ${JSON.stringify(child)}]); setInterval(() => 0, 9e5)`,
    { signal: stop.signal },
  );
  const [socket] = await connected;
  socket.on('error', () => undefined).resume();
  stop.abort();
  expect(await running).toEqual({ kind: 'late' });
  if (!socket.closed) await once(socket, 'close');
  expect(await run('setInterval(() => 0, 9e5)', { signal: stop.signal })).toEqual({ kind: 'late' });
});

test('a missing program is not run', async () => {
  const end = await runBounded({
    argv: ['/nowhere/at-all'],
    cwd: process.cwd(),
    env: {},
    timeoutMs: 1_000,
    maxBytes: 1,
  });
  expect(end).toEqual({ kind: 'not_run', code: 'ENOENT' });
  expect(programFailure(end, 1)).toBe('cannot be run (ENOENT)');
});
