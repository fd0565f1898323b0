import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { clientEnvironment, findClient } from '../support/client-program.ts';
import { startGitHost, startObjectHost } from '../support/git-host.ts';
import { startSidekey } from '../support/sidekey.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { upstreamCa, upstreamHost, upstreamLeaf } from '../support/upstream.ts';

const git = await findClient('git', ['lfs', 'version']);
const token = 'token-of-the-forge-0123456789';
const basic = `Basic ${Buffer.from(`x-access-token:${token}`).toString('base64')}`;
const objectHost = 'objects.acme.test';

/** How the host of the objects stands in the map: passed through blind, or decided as one of the forge's own. */
const entries = ['tunnel', { grant: 'forge' }] as const;

describe.skipIf(git.missing !== false)(`git-lfs${git.missing === false ? '' : ` (${git.missing})`}`, () => {
  test.each(entries)(
    'puts and gets large files, and their host never receives the credential (%j)',
    async (entry) => {
      const folder = await tempFolder();
      const root = join(folder, 'repositories');
      await mkdir(join(root, 'acme'), { recursive: true });
      await git.succeed(['init', '-q', '--bare', '-b', 'main', join(root, 'acme', 'films.git')], {
        cwd: folder,
        env: { GIT_CONFIG_NOSYSTEM: '1' },
      });
      const objects = await startObjectHost(upstreamLeaf(objectHost));
      const objectsUrl = `https://${objectHost}:${objects.port}`;
      const host = await startGitHost({ root, authorization: basic, objects: objectsUrl });
      const sidekey = await startSidekey({
        domains: { [host.authority]: { grant: 'forge' }, [`${objectHost}:${objects.port}`]: entry },
        config: {
          providers: {
            forge: {
              audience: [host.authority],
              inject: [
                {
                  hosts: [host.authority],
                  paths: ['/*/*/info/refs', '/*/*/git-*-pack', '/*/*/info/lfs/**'],
                  as: { basic: 'x-access-token' },
                },
                { as: 'own' },
              ],
            },
          },
          upstream: {
            ca: ['upstream-ca.pem'],
            resolve: { [upstreamHost]: '127.0.0.1', [objectHost]: '127.0.0.1' },
            private_addresses: ['127.0.0.1/32'],
          },
        },
      });
      await sidekey.grant([host.authority], {
        name: 'forge',
        provider: 'forge',
        credential: { type: 'api_key', value: token },
      });
      // A blind tunnel shows the certificate of the upstream itself.
      const bundle = join(folder, 'bundle.pem');
      await writeFile(bundle, `${sidekey.caPem}\n${upstreamCa}`);
      const env = {
        ...clientEnvironment({ url: sidekey.url, caFile: bundle }),
        HOME: folder,
        GIT_CONFIG_NOSYSTEM: '1',
        GIT_TERMINAL_PROMPT: '0',
        GIT_AUTHOR_NAME: 'a',
        GIT_AUTHOR_EMAIL: 'a@acme.test',
        GIT_COMMITTER_NAME: 'a',
        GIT_COMMITTER_EMAIL: 'a@acme.test',
      };
      const run = (cwd: string, ...args: readonly string[]) => git.succeed(args, { cwd, env });
      await run(folder, 'lfs', 'install', '--skip-repo');
      const url = `${host.url}/acme/films.git`;
      const work = join(folder, 'work');
      await run(folder, 'clone', '-q', url, 'work');
      await run(work, 'checkout', '-q', '-b', 'main');
      await run(work, 'config', 'lfs.locksverify', 'false');
      await run(work, 'lfs', 'track', '*.film');
      const film = randomBytes(3 << 20);
      await writeFile(join(work, 'first.film'), film);
      await run(work, 'add', '.');
      await run(work, 'commit', '-q', '-m', 'film');
      await run(work, 'push', '-q', 'origin', 'main');
      await run(folder, 'clone', '-q', url, 'again');
      expect(film.equals(await readFile(join(folder, 'again', 'first.film')))).toBe(true);

      const batches = host.seen.filter(({ target }) => target.endsWith('/info/lfs/objects/batch'));
      expect(batches.length).toBeGreaterThanOrEqual(2);
      for (const { headers } of host.seen) expect(headers['authorization']).toBe(basic);
      expect(objects.seen.map(({ method }) => method)).toEqual(expect.arrayContaining(['PUT', 'GET']));
      for (const { headers, target } of objects.seen) {
        expect(JSON.stringify({ headers, target })).not.toMatch(/authorization|x-access-token/i);
        expect(JSON.stringify({ headers, target })).not.toContain(token);
      }
    },
  );
});
