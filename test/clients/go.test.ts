import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { zip } from '../support/archive.ts';
import { findClient } from '../support/client-program.ts';
import { packageHouse, packageToken } from '../support/package-host.ts';

const go = await findClient('go', ['version']);

const path = 'modules.acme.test/widgets';
const mod = `module ${path}\n\ngo 1.19\n`;
const basic = `Basic ${Buffer.from(`go:${packageToken}`).toString('base64')}`;

describe.skipIf(go.missing !== false)(`go${go.missing === false ? '' : ` (${go.missing})`}`, () => {
  test('gets modules from a private proxy of modules with a token that it never sees', async () => {
    const at = await packageHouse({ basic: 'go' }, basic, () => ({
      [`GET /${path}/@v/list`]: 'v1.0.0\n',
      [`GET /${path}/@v/v1.0.0.info`]: '{"Version":"v1.0.0","Time":"2026-01-02T03:04:05Z"}',
      [`GET /${path}/@v/v1.0.0.mod`]: mod,
      [`GET /${path}/@v/v1.0.0.zip`]: zip({
        [`${path}@v1.0.0/go.mod`]: mod,
        [`${path}@v1.0.0/widgets.go`]: 'package widgets\n',
      }),
    }));
    const work = join(at.folder, 'work');
    await mkdir(work);
    await writeFile(join(work, 'go.mod'), 'module acme.test/work\n\ngo 1.19\n');
    await go.succeed(['get', path], {
      cwd: work,
      env: {
        ...at.env,
        GOPROXY: at.url,
        GONOSUMDB: '*',
        GOFLAGS: '-modcacherw',
        GOTOOLCHAIN: 'local',
        GOPATH: join(at.folder, 'go'),
        GOCACHE: join(at.folder, 'cache'),
      },
    });
    expect(await readFile(join(work, 'go.mod'), 'utf8')).toContain(`${path} v1.0.0`);
    await at.onlySidekeyHadIt();
  });
});
