import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { tarGz } from '../support/archive.ts';
import { findClient } from '../support/client-program.ts';
import { packageHouse, packageToken } from '../support/package-host.ts';

const npm = await findClient('npm', ['--version']);

const widgets = { name: '@acme/widgets', version: '1.0.0', main: 'index.js' };
const tarball = tarGz({
  'package/package.json': JSON.stringify(widgets),
  'package/index.js': 'module.exports = "widgets";',
});

describe.skipIf(npm.missing !== false)(`npm${npm.missing === false ? '' : ` (${npm.missing})`}`, () => {
  test('installs from a private registry, and publishes there, with a token that it never sees', async () => {
    const published: string[] = [];
    const at = await packageHouse('bearer', `Bearer ${packageToken}`, (url) => ({
      'GET /@acme%2fwidgets': JSON.stringify({
        name: widgets.name,
        'dist-tags': { latest: '1.0.0' },
        versions: {
          '1.0.0': {
            ...widgets,
            dist: {
              tarball: `${url}/@acme/widgets/-/widgets-1.0.0.tgz`,
              integrity: `sha512-${createHash('sha512').update(tarball).digest('base64')}`,
            },
          },
        },
      }),
      'GET /@acme/widgets/-/widgets-1.0.0.tgz': tarball,
      'PUT /@acme%2fgadgets': (body) => {
        published.push((JSON.parse(body.toString()) as { readonly name: string }).name);
        return 201;
      },
    }));
    const env = {
      ...at.env,
      npm_config_registry: at.url,
      npm_config_cache: join(at.folder, 'cache'),
      npm_config_audit: 'false',
      npm_config_fund: 'false',
      npm_config_update_notifier: 'false',
    };
    const work = join(at.folder, 'work');
    await mkdir(work);
    await writeFile(join(work, 'package.json'), '{}');
    await npm.succeed(['install', '@acme/widgets'], { cwd: work, env });
    const installed = join(work, 'node_modules', '@acme', 'widgets', 'index.js');
    expect(await readFile(installed, 'utf8')).toContain('widgets');

    const gadgets = join(at.folder, 'gadgets');
    await mkdir(gadgets);
    await writeFile(join(gadgets, 'package.json'), '{"name":"@acme/gadgets","version":"1.0.0"}');
    // npm publishes nothing where it has no token; any will do.
    const key = `//${at.authority}/:_authToken`;
    await writeFile(join(gadgets, '.npmrc'), `${key}=placeholder\n`);
    await npm.succeed(['publish'], { cwd: gadgets, env });
    expect(published).toEqual(['@acme/gadgets']);
    await at.onlySidekeyHadIt();
  });
});
