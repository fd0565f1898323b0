import { generateKeyPairSync } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { followCertificate, readCertificate } from '../../../src/lib/certificate-files.ts';
import { makeTestAuthority } from '../../support/certificates.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const authority = makeTestAuthority('admin');

const refused = (message: RegExp) => ({ code: 'config_invalid', message: expect.stringMatching(message) });

async function files() {
  const folder = await tempFolder();
  const { cert, key } = authority.issue(['sidekey.example.com']);
  const paths = {
    cert: join(folder, 'admin.crt'),
    key: join(folder, 'admin.key'),
    clientCa: null,
    setting: 'admin.tls' as const,
  };
  await Promise.all([writeFile(paths.cert, cert), writeFile(paths.key, key)]);
  return paths;
}

test('a certificate with its key is read', async () => {
  expect(await readCertificate(await files())).toMatchObject({
    cert: expect.stringContaining('CERTIFICATE'),
  });
});

test('a certificate without a readable matching key is refused, and the message names the setting and the file', async () => {
  const paths = await files();
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  await writeFile(paths.key, other.export({ type: 'pkcs8', format: 'pem' }));
  await expect(readCertificate(paths)).rejects.toMatchObject(refused(/admin\.tls\.key: .*is not the key of/));
  await writeFile(paths.key, 'none');
  await expect(readCertificate(paths)).rejects.toMatchObject(refused(/admin\.tls\.key: .*as PEM/));
  await rm(paths.cert);
  await expect(readCertificate(paths)).rejects.toMatchObject(refused(/admin\.tls\.cert: .*ENOENT/));
  await mkdir(paths.cert);
  await expect(readCertificate(paths)).rejects.toMatchObject(refused(/admin\.tls\.cert: .*EISDIR/));
});

test('a renewed certificate is passed on once; a failure is logged once and keeps the current certificate', async () => {
  const paths = await files();
  const timer: { run: (() => void) | null } = { run: null };
  const timers = {
    after(_ms: number, run: () => void) {
      timer.run = run;
      return () => void (timer.run = null);
    },
  };
  const look = async () => {
    const run = timer.run!;
    timer.run = null;
    run();
    while (timer.run === null) await new Promise((resolve) => setImmediate(resolve));
  };
  const [used, warned]: [string[], string[]] = [[], []];
  const following = followCertificate(paths, await readCertificate(paths), {
    use: ({ cert }) => used.push(cert),
    log: { warn: (_fields: unknown, message?: string) => void warned.push(message ?? '') },
    timers,
  });
  await look();
  expect(used).toEqual([]);
  const renewed = authority.issue(['sidekey.example.com']).cert;
  await writeFile(paths.cert, renewed);
  await look();
  await look();
  expect(used).toEqual([renewed]);
  await writeFile(paths.cert, 'half');
  await look();
  await look();
  expect([used.length, warned]).toEqual([1, ['admin.tls: the certificate in use stays']]);
  following[Symbol.dispose]();
  expect(timer.run).toBeNull();
});
