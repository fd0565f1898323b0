import { mkdir, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { openState } from '../../src/app/state.ts';
import { openAuthority } from '../../src/ca/authority.ts';
import { loadConfig } from '../../src/config/load.ts';
import { deskToken, runHome } from '../support/run-command.ts';

const silent = { error() {}, warn() {}, info() {}, debug() {} };

/** Prints its arguments as JSON, from a .cmd file such as those that npm writes for programs. */
async function shim(folder: string): Promise<void> {
  await writeFile(`${folder}\\shim.cjs`, 'console.log(JSON.stringify(process.argv.slice(2)))');
  await writeFile(`${folder}\\shim.cmd`, `@"${process.execPath}" "%~dp0shim.cjs" %*\r\n`);
}

test('run starts a .cmd program of the PATH and passes its arguments', async () => {
  const { at, run } = await runHome();
  await mkdir(at.at('bin'));
  await shim(at.at('bin'));
  const words = ['a b', '&', '|', '>', 'say "hi"', '--', '', 'c:\\x\\'];
  const env = { PATH: `${at.at('bin')};${process.env['PATH']}`, SystemRoot: 'C:\\windows' };
  const { stdout } = await run(['--quiet', '--', 'shim', ...words], { env });
  expect(JSON.parse(stdout)).toEqual(words);
});

test('run adds the credential to the requests of a program that has none', async () => {
  const { at, upstream, seen, run } = await runHome();
  const source = `const response = await fetch('${upstream.url}/me'); console.log(await response.text());`;
  await writeFile(at.at('client.mjs'), source);
  const ran = await run(['--quiet', '--', process.execPath, at.at('client.mjs')]);
  expect(ran).toMatchObject({ exit: 0, stdout: 'hello\n' });
  expect(seen).toEqual([`Bearer ${deskToken}`]);
  expect(JSON.stringify(ran)).not.toContain(deskToken);
});

test('run passes standard input and the exit code through', async () => {
  const { at, run } = await runHome();
  await writeFile(
    at.at('copy.mjs'),
    'process.stdin.pipe(process.stdout).on("close", () => process.exit(7));',
  );
  await writeFile(at.at('exit.mjs'), 'process.exit(7);');
  const copied = await run(['--quiet', '--', process.execPath, at.at('copy.mjs')], { input: 'the input' });
  expect(copied.stdout).toBe('the input');
  expect((await run(['--quiet', '--', process.execPath, at.at('exit.mjs')])).exit).toBe(7);
});

test('env prints PowerShell by default, and bash with --shell', async () => {
  const proxy = { listen: '127.0.0.1:0', local_callers: 'any' };
  const { at } = await runHome(undefined, () => ({ proxy }));
  const state = await openState(await loadConfig(at.configFile, { env: {} }), { log: silent, now: Date.now });
  const { directory, permittedNames } = state.config.ca;
  await openAuthority({ directory, permittedNames, vault: state.vault, now: Date.now });
  await state.close();
  const env = ['env', '--proxy', 'http://127.0.0.1:8377'];
  expect((await at.run(env)).stdout).toMatch(/^\$env:HTTPS_PROXY = 'http:\/\/127.0.0.1:8377'$/m);
  expect((await at.run([...env, '--shell', 'bash'])).stdout).toMatch(/^export HTTPS_PROXY=/m);
});
