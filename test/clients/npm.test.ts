import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { tarGz } from '../support/archive.ts';
import { startPackageProxy } from './support/package-proxy.ts';
import { missing } from './support/stage.ts';

const widgets = { name: '@acme/widgets', version: '1.0.0', main: 'index.js' };
const tarball = tarGz({
  'package/package.json': JSON.stringify(widgets),
  'package/index.js': 'module.exports = "widgets";',
});

test.skipIf(missing('npm', '--version'))(
  'npm installs from and publishes to a private registry without seeing the token',
  { timeout: 120_000 },
  async () => {
    const published: string[] = [];
    const { script, room, upstream, onlyWithCredential } = await startPackageProxy(
      'bearer',
      ({ token }) => `Bearer ${token}`,
      (url) => ({
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
      }),
    );
    await mkdir(join(room, 'work'));
    await writeFile(join(room, 'work', 'package.json'), '{}');
    await mkdir(join(room, 'gadgets'));
    await writeFile(join(room, 'gadgets', 'package.json'), '{"name":"@acme/gadgets","version":"1.0.0"}');
    // npm publishes nothing where it has no token; any will do.
    await writeFile(join(room, 'gadgets', '.npmrc'), `//${upstream.authority}/:_authToken=placeholder\n`);
    await script(['cd work', 'npm install @acme/widgets', 'cd ../gadgets', 'npm publish'], {
      env: {
        npm_config_registry: upstream.url,
        npm_config_cache: join(room, 'cache'),
        npm_config_audit: 'false',
        npm_config_fund: 'false',
        npm_config_update_notifier: 'false',
      },
    });
    const installed = join(room, 'work', 'node_modules', '@acme', 'widgets', 'index.js');
    expect(await readFile(installed, 'utf8')).toContain('widgets');
    expect(published).toEqual(['@acme/gadgets']);
    onlyWithCredential();
  },
);
