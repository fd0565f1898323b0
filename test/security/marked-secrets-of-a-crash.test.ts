/** See marked-secrets.test.ts: here for a program that ends in a way that nobody foresaw. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, onTestFinished, test } from 'vitest';
import { program } from '../support/command-line.ts';
import { markedHome } from '../support/marked-home.ts';
import { tempFolder } from '../support/temp-folder.ts';

describe('a crash shows no secret', () => {
  const ways: Readonly<Record<string, (mark: string) => string>> = {
    'an error with a request': (mark) =>
      `throw Object.assign(new Error('${mark}', { cause: '${mark}' }), { request: { authorization: '${mark}' } })`,
    'a parser that quotes': (mark) => `JSON.parse('${mark}')`,
    'an unhandled rejection': (mark) => `void Promise.reject(new Error('${mark}'))`,
    'a thrown value that is not an Error': (mark) => `throw { token: '${mark}' }`,
  };

  test.each(Object.entries(ways))('in the running proxy: %s', async (_what, way) => {
    const at = await markedHome({});
    const elsewhere = await tempFolder();
    const preload = join(elsewhere, 'crash.mjs');
    await writeFile(preload, `process.on('SIGUSR2', () => {\n${way(at.marks.mark('it'))};\n});\n`);
    const child = spawn(process.execPath, [program, 'start', '--json', '--config', at.configFile], {
      cwd: at.folder,
      env: { PATH: process.env['PATH'], HOME: at.folder, NODE_OPTIONS: `--import=${preload}` },
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    const [stdout, stderr] = [text(child.stdout), text(child.stderr)];
    await once(child.stdout, 'data');
    child.kill('SIGUSR2');
    const [exit] = (await once(child, 'exit')) as [number];
    const ended = at.keep('sidekey start', { exit, stdout: await stdout, stderr: await stderr });
    expect(ended.exit).toBe(1);
    expect(ended.stderr).toContain('"code":"internal"');
    expect(await at.leaks()).toEqual([]);
  });

  test('of a command: a library quotes its input', async () => {
    const at = await markedHome({ providers: { keyed: { audience: ['api.acme.test'] } } });
    const preload = join(await tempFolder(), 'crash.mjs');
    const secret = at.marks.token('it');
    await writeFile(
      preload,
      `const { concat } = Buffer;
       Buffer.concat = (parts, length) => {
         const all = concat(parts, length);
         if (all.includes('api_key')) throw new SyntaxError('Unexpected token in ' + all);
         return all;
       };\n`,
    );
    for (const args of [
      ['grant', 'import', 'work', '--provider', 'keyed'],
      ['grant', 'import', 'work', '--provider', 'keyed', '--json'],
    ]) {
      const ran = await at.program(args, {
        input: JSON.stringify({ type: 'api_key', value: secret }),
        env: { NODE_OPTIONS: `--import=${preload}` },
      });
      at.keep(args.join(' '), ran);
      expect(ran).toMatchObject({ exit: 1, stderr: expect.stringContaining('SyntaxError in ') });
    }
    expect(await at.leaks()).toEqual([]);
  });
});
