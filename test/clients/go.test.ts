import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { zip } from '../support/archive.ts';
import { startPackageProxy } from './support/package-proxy.ts';
import { missing } from './support/stage.ts';

const path = 'modules.acme.test/widgets';
const mod = `module ${path}\n\ngo 1.19\n`;

test.skipIf(missing('go', 'version'))(
  'go fetches modules from a private module proxy without seeing the token',
  { timeout: 120_000 },
  async () => {
    const { perform, room, upstream, onlyWithCredential } = await startPackageProxy(
      { basic: 'go' },
      ({ basic }) => basic('go'),
      () => ({
        [`GET /${path}/@v/list`]: 'v1.0.0\n',
        [`GET /${path}/@v/v1.0.0.info`]: '{"Version":"v1.0.0","Time":"2026-01-02T03:04:05Z"}',
        [`GET /${path}/@v/v1.0.0.mod`]: mod,
        [`GET /${path}/@v/v1.0.0.zip`]: zip({
          [`${path}@v1.0.0/go.mod`]: mod,
          [`${path}@v1.0.0/widgets.go`]: 'package widgets\n',
        }),
      }),
    );
    const work = join(room, 'work');
    await mkdir(work);
    await writeFile(join(work, 'go.mod'), 'module acme.test/work\n\ngo 1.19\n');
    const ran = await perform(['go', 'get', path], {
      cwd: 'work',
      env: {
        GOPROXY: upstream.url,
        GONOSUMDB: '*',
        GOFLAGS: '-modcacherw',
        GOTOOLCHAIN: 'local',
        GOPATH: join(room, 'go'),
        GOCACHE: join(room, 'cache'),
      },
    });
    expect(ran).toMatchObject({ exit: 0 });
    expect(await readFile(join(work, 'go.mod'), 'utf8')).toContain(`${path} v1.0.0`);
    onlyWithCredential();
  },
);
