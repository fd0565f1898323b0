import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { zip } from '../support/archive.ts';
import { startPackageProxy } from './support/package-proxy.ts';
import { missing } from './support/stage.ts';

const wheel = zip({
  'widgets.py': 'name = "widgets"\n',
  'widgets-1.0.dist-info/METADATA': 'Metadata-Version: 2.1\nName: widgets\nVersion: 1.0\n',
  'widgets-1.0.dist-info/WHEEL': 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
  'widgets-1.0.dist-info/RECORD': '',
});
const file = 'widgets-1.0-py3-none-any.whl';
const pip = ['-m', 'pip', '--disable-pip-version-check'];

test.skipIf(missing('python3', ...pip, '--version'))(
  'pip downloads from a private index without seeing the token',
  { timeout: 120_000 },
  async () => {
    const { perform, room, upstream, onlyWithCredential } = await startPackageProxy(
      { basic: '__token__' },
      ({ basic }) => basic('__token__'),
      () => ({
        'GET /simple/widgets/': `<a href="/files/${file}#sha256=${createHash('sha256').update(wheel).digest('hex')}">${file}</a>`,
        [`GET /files/${file}`]: wheel,
      }),
    );
    const index = ['--index-url', `${upstream.url}/simple/`];
    const ran = await perform(
      ['python3', ...pip, 'download', '--no-input', '--no-deps', ...index, 'widgets'],
      {
        env: { PIP_CACHE_DIR: join(room, 'cache'), PIP_CONFIG_FILE: '/dev/null' },
      },
    );
    expect(ran).toMatchObject({ exit: 0 });
    expect(wheel.equals(await readFile(join(room, file)))).toBe(true);
    onlyWithCredential();
  },
);
