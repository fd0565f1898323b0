import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { missing, stage } from './support/stage.ts';

/** The line for a repository without folders, in the format of apt. */
const list = '/debian/./Packages';
const packages = 'Package: acme\nVersion: 1.0\nArchitecture: all\nFilename: acme.deb\nSize: 1\n';

// As root, apt fetches as the user _apt, which cannot enter the private folder of a test.
test.skipIf(process.getuid?.() === 0 || missing('apt-get', '--version'))(
  'apt fetches the list of a private repository without seeing the token, and still reads its own APT_CONFIG',
  { timeout: 60_000 },
  async () => {
    const { perform, room, upstream, seen } = await stage((request, response) => {
      if (request.url === list) response.end(packages);
      else response.writeHead(404).end();
    });
    for (const folder of ['lists/partial', 'cache/archives/partial', 'parts'])
      await mkdir(join(room, folder), { recursive: true });
    await writeFile(join(room, 'sources.list'), `deb [trusted=yes] ${upstream.url}/debian ./\n`);
    await writeFile(join(room, 'status'), '');
    const settings = {
      'Dir::Etc::SourceList': join(room, 'sources.list'),
      'Dir::Etc::SourceParts': join(room, 'parts'),
      'Dir::State::Lists': join(room, 'lists'),
      'Dir::State::Status': join(room, 'status'),
      'Dir::Cache': join(room, 'cache'),
      'Debug::NoLocking': '1',
    };
    const own = join(room, 'own apt.conf');
    await writeFile(
      own,
      Object.entries(settings)
        .map(([name, value]) => `${name} "${value}";\n`)
        .join(''),
    );
    const ran = await perform(['apt-get', 'update'], { env: { APT_CONFIG: own } });
    expect(ran).toMatchObject({ exit: 0 });
    expect(seen.map(({ path }) => path)).toContain(list);
    expect(await readdir(join(room, 'lists'))).toContainEqual(expect.stringMatching(/_debian_.*Packages/));
  },
);
