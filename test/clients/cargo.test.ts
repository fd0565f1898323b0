import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { tarGz } from '../support/archive.ts';
import { findClient } from '../support/client-program.ts';
import { packageHouse, packageToken } from '../support/package-host.ts';

// Where rustup put it, the program itself is in the home folder. Older ones know no registries over HTTP.
const rustup = { RUSTUP_HOME: process.env['RUSTUP_HOME'] ?? join(homedir(), '.rustup') };
const cargo = await findClient('cargo', ['info', '--help'], rustup);

const crate = tarGz({
  'widgets-1.0.0/Cargo.toml': '[package]\nname = "widgets"\nversion = "1.0.0"\n',
  'widgets-1.0.0/src/lib.rs': '',
});

describe.skipIf(cargo.missing !== false)(
  `cargo${cargo.missing === false ? '' : ` (${cargo.missing})`}`,
  () => {
    test('fetches crates from a private registry with a token that it never sees', async () => {
      const line = {
        name: 'widgets',
        vers: '1.0.0',
        deps: [],
        cksum: createHash('sha256').update(crate).digest('hex'),
        features: {},
        yanked: false,
      };
      const at = await packageHouse({ header: 'Authorization' }, packageToken, (url) => ({
        'GET /index/config.json': JSON.stringify({ dl: `${url}/dl` }),
        'GET /index/wi/dg/widgets': JSON.stringify(line),
        'GET /dl/widgets/1.0.0/download': crate,
      }));
      const work = join(at.folder, 'work');
      await mkdir(join(work, 'src'), { recursive: true });
      await mkdir(join(work, '.cargo'));
      await writeFile(
        join(work, '.cargo', 'config.toml'),
        `[registries.acme]\nindex = "sparse+${at.url}/index/"\n`,
      );
      await writeFile(
        join(work, 'Cargo.toml'),
        '[package]\nname = "work"\nversion = "1.0.0"\n[dependencies]\nwidgets = { version = "1", registry = "acme" }\n',
      );
      await writeFile(join(work, 'src', 'lib.rs'), '');
      await cargo.succeed(['fetch'], {
        cwd: work,
        env: { ...at.env, ...rustup, CARGO_HOME: join(at.folder, 'cargo') },
      });
      expect(await readFile(join(work, 'Cargo.lock'), 'utf8')).toContain('name = "widgets"');
      await at.onlySidekeyHadIt();
    });
  },
);
