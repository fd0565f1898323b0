import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startGitHost, startObjectHost } from '../support/git-host.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { upstreamLeaf } from '../support/upstream.ts';
import { createSecret } from './support/secret.ts';
import { missing, openStage } from './support/stage.ts';

const objectHost = 'objects.acme.test';

/** The host of the objects in the domain map: tunnelled, or with the credential of the forge. */
const entries = ['tunnel', { grant: 'client-test' }] as const;

test.skipIf(missing('git', 'lfs', 'version')).each(entries)(
  'git-lfs uploads and downloads large files, and their storage host never receives the credential (%j)',
  { timeout: 120_000 },
  async (entry) => {
    const root = await tempFolder();
    await mkdir(join(root, 'acme'));
    execFileSync('git', ['init', '-q', '--bare', '-b', 'main', join(root, 'acme', 'films.git')]);
    const secret = createSecret();
    const basic = secret.basic('x-access-token');
    const objects = await startObjectHost(upstreamLeaf(objectHost));
    const objectsUrl = `https://${objectHost}:${objects.port}`;
    const host = await startGitHost({ root, authorization: basic, objects: objectsUrl, hold: secret.hold });
    const { room, script, home } = await openStage(secret, {
      domains: {
        [host.authority]: { grant: 'client-test' },
        [`${objectHost}:${objects.port}`]: entry,
      },
      provider: 'forge',
      inject: [
        {
          hosts: [host.authority],
          paths: ['/*/*/info/refs', '/*/*/git-*-pack', '/*/*/info/lfs/**'],
          as: { basic: 'x-access-token' },
        },
        { as: 'own' },
      ],
      audience: host.authority,
      hosts: [objectHost],
    });
    const film = randomBytes(3 << 20);
    await writeFile(join(room, 'first.film'), film);
    const ran = await script(
      [
        'git lfs install --skip-repo',
        'git clone -q $URL work',
        'cd work',
        'git checkout -q -b main',
        'git config lfs.locksverify false',
        'git lfs track "*.film"',
        'cp ../first.film .',
        'git add .',
        'git commit -q -m film',
        'git push -q origin main',
        'cd ..',
        'git clone -q $URL again',
      ],
      {
        env: {
          URL: `${host.url}/acme/films.git`,
          // A blind tunnel shows the certificate of the upstream itself.
          SSL_CERT_FILE: home.at('config', 'upstream-ca.pem'),
          GIT_CONFIG_NOSYSTEM: '1',
          // A confined command writes no settings of its person.
          GIT_CONFIG_GLOBAL: join(room, 'gitconfig'),
          GIT_AUTHOR_NAME: 'a',
          GIT_AUTHOR_EMAIL: 'a@acme.test',
          GIT_COMMITTER_NAME: 'a',
          GIT_COMMITTER_EMAIL: 'a@acme.test',
        },
      },
    );
    expect(film.equals(await readFile(join(room, 'again', 'first.film')))).toBe(true);
    expect(ran.lookedInto).toContainEqual(expect.stringContaining('git-lfs'));

    const batches = host.seen.filter(({ target }) => target.endsWith('/info/lfs/objects/batch'));
    expect(batches.length).toBeGreaterThanOrEqual(2);
    for (const { headers } of host.seen) expect(headers['authorization']).toBe(basic);
    expect(objects.seen.map(({ method }) => method)).toEqual(expect.arrayContaining(['PUT', 'GET']));
    for (const { headers, target } of objects.seen) {
      expect(JSON.stringify({ headers, target })).not.toMatch(/authorization|x-access-token/i);
      expect(secret.findIn(Buffer.from(JSON.stringify({ headers, target })))).toEqual([]);
    }
  },
);
