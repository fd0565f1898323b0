import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { zip } from '../support/archive.ts';
import { findClient } from '../support/client-program.ts';
import { packageHouse, packageToken } from '../support/package-host.ts';

const python = await findClient('python3', ['-m', 'pip', '--version']);

const wheel = zip({
  'widgets.py': 'name = "widgets"\n',
  'widgets-1.0.dist-info/METADATA': 'Metadata-Version: 2.1\nName: widgets\nVersion: 1.0\n',
  'widgets-1.0.dist-info/WHEEL': 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
  'widgets-1.0.dist-info/RECORD': '',
});
const file = 'widgets-1.0-py3-none-any.whl';
const basic = `Basic ${Buffer.from(`__token__:${packageToken}`).toString('base64')}`;

describe.skipIf(python.missing !== false)(
  `pip${python.missing === false ? '' : ` (${python.missing})`}`,
  () => {
    test('downloads from a private index with a token that it never sees', async () => {
      const at = await packageHouse({ basic: '__token__' }, basic, () => ({
        'GET /simple/widgets/': `<a href="/files/${file}#sha256=${createHash('sha256').update(wheel).digest('hex')}">${file}</a>`,
        [`GET /files/${file}`]: wheel,
      }));
      const args = ['-m', 'pip', 'download', '--no-input', '--no-deps', '--disable-pip-version-check'];
      await python.succeed([...args, '--index-url', `${at.url}/simple/`, 'widgets'], {
        cwd: at.folder,
        env: { ...at.env, PIP_CACHE_DIR: join(at.folder, 'cache'), PIP_CONFIG_FILE: '/dev/null' },
      });
      expect(wheel.equals(await readFile(join(at.folder, file)))).toBe(true);
      await at.onlySidekeyHadIt();
    });
  },
);
