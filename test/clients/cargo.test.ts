import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { tarGz } from '../support/archive.ts';
import { startPackageProxy } from './support/package-proxy.ts';
import { missing } from './support/stage.ts';

// Where rustup put it, the program itself is in the home folder.
const rustup = { RUSTUP_HOME: process.env['RUSTUP_HOME'] ?? join(homedir(), '.rustup') };

const crate = tarGz({
  'widgets-1.0.0/Cargo.toml': '[package]\nname = "widgets"\nversion = "1.0.0"\n',
  'widgets-1.0.0/src/lib.rs': '',
});

// Older ones know no registries over HTTP.
test.skipIf(missing('cargo', 'info', '--help'))(
  'cargo fetches crates from a private registry without seeing the token',
  { timeout: 120_000 },
  async () => {
    const line = {
      name: 'widgets',
      vers: '1.0.0',
      deps: [],
      cksum: createHash('sha256').update(crate).digest('hex'),
      features: {},
      yanked: false,
    };
    const { perform, room, upstream, onlyWithCredential } = await startPackageProxy(
      { header: 'Authorization' },
      ({ token }) => token,
      (url) => ({
        'GET /index/config.json': JSON.stringify({ dl: `${url}/dl` }),
        'GET /index/wi/dg/widgets': JSON.stringify(line),
        'GET /dl/widgets/1.0.0/download': crate,
      }),
    );
    const work = join(room, 'work');
    await mkdir(join(work, 'src'), { recursive: true });
    await mkdir(join(work, '.cargo'));
    await writeFile(
      join(work, '.cargo', 'config.toml'),
      `[registries.acme]\nindex = "sparse+${upstream.url}/index/"\n`,
    );
    await writeFile(
      join(work, 'Cargo.toml'),
      '[package]\nname = "work"\nversion = "1.0.0"\n[dependencies]\nwidgets = { version = "1", registry = "acme" }\n',
    );
    await writeFile(join(work, 'src', 'lib.rs'), '');
    const ran = await perform(['cargo', 'fetch'], {
      cwd: 'work',
      env: { ...rustup, CARGO_HOME: join(room, 'cargo') },
    });
    expect(ran).toMatchObject({ exit: 0 });
    expect(await readFile(join(work, 'Cargo.lock'), 'utf8')).toContain('name = "widgets"');
    onlyWithCredential();
  },
);
