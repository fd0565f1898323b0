/** The development certificates of certs/make.ts. */
import { spawnSync } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { developmentPki } from '../../examples/helpdesk/certificate.ts';
import { packageRoot } from '../../src/lib/package-files.ts';
import { tempFolder } from '../support/temp-folder.ts';

const script = join(packageRoot, 'certs/make.ts');

function make(folder: string, ...hosts: string[]) {
  return spawnSync(process.execPath, [script, '--out', folder, ...hosts], { encoding: 'utf8' });
}

test('each host gets a certificate of the root, with the name and lifetimes of certs/README.md', async () => {
  const folder = await tempFolder();
  expect(make(folder, 'api.acme.test', 'localhost')).toMatchObject({ status: 0, stderr: '' });
  const read = (file: string) => readFileSync(join(folder, file), 'utf8');
  const root = new X509Certificate(read('acme-root.pem'));
  expect(root.subject).toContain(`CN=${developmentPki.commonName}`);
  for (const host of ['api.acme.test', 'localhost']) {
    const leaf = new X509Certificate(read(`${host}.pem`));
    expect(leaf.verify(root.publicKey)).toBe(true);
    expect(leaf.checkHost(host)).toBe(host);
    expect(leaf.checkPrivateKey(createPrivateKey(read(`${host}.key`)))).toBe(true);
    if (process.platform !== 'win32') expect(statSync(join(folder, `${host}.key`)).mode & 0o777).toBe(0o600);
  }
  const page = readFileSync(join(packageRoot, 'certs/README.md'), 'utf8');
  for (const text of [
    developmentPki.commonName,
    `${developmentPki.rootDays} days`,
    `${developmentPki.leafDays} days`,
  ])
    expect(page).toContain(text);
});

test('a second run keeps valid certificates, and never touches the CA of Sidekey', async () => {
  const folder = await tempFolder();
  for (const file of ['ca.crt', 'ca.key']) writeFileSync(join(folder, file), file);
  make(folder);
  const contents = () => readdirSync(folder).map((file) => [file, readFileSync(join(folder, file), 'utf8')]);
  const before = contents();
  expect(make(folder).status).toBe(0);
  expect(contents()).toEqual(before);
  expect(before).toContainEqual(['ca.key', 'ca.key']);
});

test.each(['../outside', 'a/b', '127.0.0.1', '', 'Api.acme.test', 'ca', 'acme-root'])(
  'the host %j is refused, and nothing is written',
  async (host) => {
    const folder = await tempFolder();
    expect(make(folder, host)).toMatchObject({ status: 2, stdout: '' });
    expect(readdirSync(folder)).toEqual([]);
  },
);

// A copy of the tree may have no history, and a machine no git.
const git = spawnSync('git', ['rev-parse'], { cwd: packageRoot }).status === 0;

test.skipIf(!git)('git ignores every file that the script writes', () => {
  const files = ['acme-root.pem', 'acme-root.key', 'api.acme.test.key', 'ca.key'].map(
    (file) => `certs/${file}`,
  );
  const { stdout } = spawnSync('git', ['check-ignore', '--no-index', ...files], {
    cwd: packageRoot,
    encoding: 'utf8',
  });
  expect(stdout.trim().split('\n')).toEqual(files);
});
