import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  parseSecretReference,
  readSecret,
  type ReadSecretOptions,
} from '../../../src/config/secret-reference.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const node = process.execPath;

async function read(text: string, options: Partial<ReadSecretOptions> = {}): Promise<string> {
  const reference = parseSecretReference(text);
  if ('problem' in reference) throw new Error(reference.problem);
  return readSecret(reference, { env: process.env, cwd: process.cwd(), ...options });
}

/** A command reference that runs a script with the Node of this test. */
function script(code: string): string {
  return `command:'${node}' -e '${code}'`;
}

describe('an env: reference', () => {
  test('returns the unchanged value of the variable', async () => {
    await expect(read('env:SECRET', { env: { SECRET: ' s3cret ' } })).resolves.toBe(' s3cret ');
  });

  test.each([[{}], [{ SECRET: '' }]])('is missing when the environment is %j', async (env) => {
    await expect(
      read('env:SECRET', { env, where: 'sidekey.yaml:3:9: providers.acme.client_secret' }),
    ).rejects.toMatchObject({
      code: 'secret_missing',
      message: expect.stringMatching(
        /^sidekey\.yaml:3:9: providers\.acme\.client_secret: env:SECRET is (not set|empty)\.$/,
      ),
    });
  });
});

describe('a file: reference', () => {
  test('may begin with ~/, the home folder', () => {
    const path = join(homedir(), 'secrets/acme');
    expect(parseSecretReference('file:~/secrets/acme')).toEqual({ kind: 'file', path });
    expect(parseSecretReference('file:~other/acme')).toEqual({ kind: 'file', path: '~other/acme' });
  });

  test('is relative to the config file, and loses one newline at the end', async () => {
    const cwd = await tempFolder();
    await mkdir(join(cwd, 'secrets'));
    await writeFile(join(cwd, 'secrets/acme'), 's3cret\r\n', { mode: 0o600 });
    await writeFile(join(cwd, 'bare'), 's3cret', { mode: 0o640 });
    await expect(read('file:secrets/acme', { cwd })).resolves.toBe('s3cret');
    await expect(read('file:bare', { cwd })).resolves.toBe('s3cret');
  });

  test.each(['604', '602', '644'])(
    'to a file that other users can access (mode %s) is refused',
    async (mode) => {
      const cwd = await tempFolder();
      await writeFile(join(cwd, 'acme'), 's3cret\n');
      await chmod(join(cwd, 'acme'), mode);
      const failure = { code: 'permissions_unsafe', hint: `run: chmod 600 ${join(cwd, 'acme')}` };
      await expect(read('file:acme', { cwd })).rejects.toMatchObject(failure);
    },
  );

  test('to a missing path, or to one that is not a file, is missing', async () => {
    const cwd = await tempFolder();
    await promisify(execFile)('mkfifo', ['-m', '600', join(cwd, 'fifo')]);
    for (const path of ['none', '.', 'fifo']) {
      await expect(read(`file:${path}`, { cwd })).rejects.toMatchObject({ code: 'secret_missing' });
    }
  });

  test.each([
    ['two lines', 's3c\nret\n'],
    ['two newlines at the end', 's3cret\n\n'],
    ['a NUL', 's3c\0ret'],
    ['bytes that are not UTF-8', Buffer.from([0x73, 0xff])],
    ['more than 64 KiB', 'x'.repeat(65_537)],
  ])('to a file with %s is refused, without its content in the message', async (_, content) => {
    const cwd = await tempFolder();
    await writeFile(join(cwd, 'acme'), content, { mode: 0o600 });
    const error: unknown = await read('file:acme', { cwd }).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code: 'input_invalid' });
    expect(String(error)).not.toMatch(/s3c|xxx/);
  });
});

describe('a command: reference', () => {
  test('returns the output without surrounding white space', async () => {
    await expect(read(script('console.log("  s3cret  ")'))).resolves.toBe('s3cret');
  });

  test('runs in the folder of the config file, with the environment, and without a shell', async () => {
    const cwd = await tempFolder();
    const code = 'console.log(process.cwd(), process.env.PART, process.argv[1])';
    const options = { cwd, env: { PART: 'part' } };
    await expect(read(`${script(code)} '$PART;*'`, options)).resolves.toBe(`${cwd} part $PART;*`);
  });

  test('that fails is missing, without its stderr and arguments in the error', async () => {
    const failed = read(`${script('console.error("s3cret"); process.exit(3)')} s3cret`);
    const error: unknown = await failed.catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code: 'secret_missing' });
    expect(error).toHaveProperty('message', `command:${node} ended with exit code 3.`);
  });

  test('discards stderr of the command', async () => {
    const source = new URL('../../../src/config/secret-reference.ts', import.meta.url).href;
    const reference = { kind: 'command', argv: [node, '-e', 'console.error("s3cret"); console.log("ok")'] };
    const program = `import { readSecret } from ${JSON.stringify(source)};
      console.log(await readSecret(${JSON.stringify(reference)}, { env: process.env, cwd: '.' }));`;
    const ran = await promisify(execFile)(node, ['--input-type=module', '-e', program]);
    expect(ran).toEqual({ stdout: 'ok\n', stderr: '' });
  });

  test('without an executable or without output is missing', async () => {
    await expect(read('command:/nowhere/at-all')).rejects.toMatchObject({ code: 'secret_missing' });
    await expect(read(script('0'))).rejects.toMatchObject({ code: 'secret_missing' });
  });

  test('that hangs is killed together with its children', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const connected = once(server, 'connection') as Promise<[Socket]>;
    // The grandchild would survive a kill of its parent only; its connection closes when it ends.
    const grandchild = `require("node:net").connect(${port}, "127.0.0.1").resume()`;
    const code = `require("node:child_process").spawn(process.execPath, ["-e", ${JSON.stringify(grandchild)}]); setInterval(() => 0, 9e5)`;
    const [[socket]] = await Promise.all([
      connected,
      expect(read(script(code), { timeoutMs: 1_500 })).rejects.toMatchObject({
        code: 'secret_missing',
        message: `command:${node} did not answer within 1500 ms.`,
      }),
    ]);
    socket.on('error', () => undefined).resume();
    if (!socket.closed) await once(socket, 'close');
  });

  test('whose output never ends is killed', async () => {
    const code = 'process.stdout.on("error", () => 0); setInterval(() => console.log("x".repeat(1e5)), 1)';
    await expect(read(script(code))).rejects.toMatchObject({ code: 'input_invalid' });
  });
});

describe('a text that is not a valid reference is refused', () => {
  test.each([
    ['hunter2', /is not a reference to a secret/],
    ['', /is not a reference to a secret/],
    ['ENV:NAME', /is not a reference to a secret/],
    ['vault:secret/acme', /is not a reference to a secret/],
    ['env:', /no name/],
    ['env:NOT-A-NAME', /no name/],
    ['file:', /no path/],
    ['file:a\nb', /control character/],
    ['command:', /names no command/],
    ['command:pass "acme', /quote/],
  ])('%j', (text, problem) => {
    const parsed = parseSecretReference(text);
    expect(parsed).toHaveProperty('problem', expect.stringMatching(problem));
    expect(JSON.stringify(parsed)).not.toContain('hunter2');
  });
});
