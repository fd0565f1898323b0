/** The output of `npm run build`, in a folder like an installed package: few files, the whole program. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { home, sourceProgram } from '../../support/command-line.ts';
import { ask, startTwoWorkers } from '../../support/two-workers.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';

const checkout = fileURLToPath(new URL('../../..', import.meta.url));
const bearer = 'Bearer key-secret-0123456789';

describe('the built package', { timeout: 120_000 }, () => {
  let folder: string;
  let entryFile: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sidekey-'));
    const out = join(folder, 'dist');
    entryFile = join(out, 'sidekey.js');
    await promisify(execFile)(process.execPath, ['build.ts', '--out', out], { cwd: checkout });
    for (const name of ['config', 'package.json', 'node_modules'])
      await symlink(join(checkout, name), join(folder, name));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test('serves with several workers, each of which adds the credential', async () => {
    const seen: (string | undefined)[] = [];
    const upstream = await startUpstream((request, response) => {
      seen.push(request.headers.authorization);
      response.end('ok');
    });
    const { at, spread, stop } = await startTwoWorkers({ entryFile, upstream });
    const [first] = await spread();
    expect(first && (await ask(first.client, upstream, '/spread/last'))).toMatchObject({ status: 200 });
    expect(new Set(seen)).toEqual(new Set([bearer]));
    expect((await stop()).exit).toBe(0);
    expect(await at.program(['audit', 'verify'], { entryFile })).toMatchObject({ exit: 0 });
  });

  test('the file that serves is ASCII, so that V8 keeps its source in one byte a character', async () => {
    const cli = join(folder, 'dist', 'cli');
    const [serve = ''] = (await readdir(cli)).filter((name) => name.startsWith('serve-'));
    const source = await readFile(join(cli, serve));
    expect(source.filter((byte) => byte > 0x7f).toString()).toBe('');
  });

  test('finds the catalog and refreshes a token, using lazily loaded modules', async () => {
    const upstream = await startUpstream((_request, response) => {
      response.setHeader('content-type', 'application/json');
      response.end('{"access_token":"access-1","token_type":"Bearer","expires_in":7200}');
    });
    const at = await home({
      upstream: {
        ca: ['upstream-ca.pem'],
        resolve: { [upstreamHost]: '127.0.0.1' },
        private_addresses: ['127.0.0.1/32'],
      },
      providers: {
        desk: {
          token_endpoint: `${upstream.url}/token`,
          client_id: 'sidekey',
          audience: [upstream.authority],
        },
      },
    });
    await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
    await at.grant('desk', { access_token: 'access-0', refresh_token: 'refresh-0', expires_in: 3600 }, [
      '--provider',
      'desk',
    ]);
    expect(await at.program(['grant', 'refresh', 'desk', '--force'], { entryFile })).toMatchObject({
      exit: 0,
      stderr: '',
    });
    const listed = await at.program(['provider', 'list'], { entryFile });
    expect(listed).toEqual(await at.program(['provider', 'list'], { entryFile: sourceProgram }));
    expect(listed.stdout).toContain('github');
  });

  test('revokes the lease of a command if sidekey run fails', async () => {
    const at = await home({});
    // Standing in for a mistake of ours: nothing else ends it in such a way.
    const failing = `data:text/javascript,process.on('SIGALRM',()=>{throw(0)})`;
    const script = 'unset NODE_OPTIONS; kill -ALRM $PPID; exec sleep 20';
    // A confined command does not see the process of sidekey run.
    const args = ['run', '--quiet', '--no-isolate', '--', 'sh', '-c', script];
    // The config is not named behind what the program is told.
    const env = { NODE_OPTIONS: `--import=${failing}`, SIDEKEY_CONFIG: at.configFile };
    expect(await at.program(args, { entryFile, env })).toMatchObject({ exit: 1 });
    expect(await at.json(['lease', 'list', '--all'])).toMatchObject([{ agent: 'run', state: 'revoked' }]);
  });

  test('contains its dependencies with their licences', async () => {
    const names = await readdir(join(folder, 'dist', 'cli'));
    const outside = new Set<string | undefined>();
    for (const name of names.filter((each) => each.endsWith('.js'))) {
      const code = await readFile(join(folder, 'dist', 'cli', name), 'utf8');
      const taken = /(?:^import .*?|createRequire\(import\.meta\.url\)\()["']([^"'.][^"']*)["']\)?;$/gm;
      for (const [, id] of code.matchAll(taken)) outside.add(id);
    }
    expect([...outside].filter((id) => id?.startsWith('node:') !== true)).toEqual([]);
    const licences = await readFile(join(folder, 'dist', 'cli', 'LICENCES.txt'), 'utf8');
    const inPages = ['preact', '@preact/signals', '@preact/signals-core', 'simple-icons', 'uplot'];
    for (const name of ['commander', 'jose', 'kysely', 'pino', 'undici', 'yaml', 'zod', ...inPages])
      expect(licences).toMatch(new RegExp(`^${name}\n\n`, 'm'));
  });

  test.each([
    ['app.js', 90_000],
    ['style.css', 15_000],
    ['icons.json', 50_000],
  ])('%s of the pages has at most %i bytes after compression', async (name, most) => {
    expect(gzipSync(await readFile(join(folder, 'dist', 'pages', name))).length).toBeLessThanOrEqual(most);
  });
});
