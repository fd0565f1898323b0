import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDialer } from '../../../../src/proxy/upstream/dialer.ts';
import { createTrust, readAnchors } from '../../../../src/proxy/upstream/tls.ts';
import { makeTestAuthority } from '../../../support/certificates.ts';
import { authorityOf } from '../policy/policy-for-test.ts';
import { tlsUpstream } from './upstream-for-test.ts';

const company = makeTestAuthority('Company CA');
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sidekey-trust-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function fileOf(name: string, text: string): Promise<string> {
  const file = join(folder, name);
  await writeFile(file, text);
  return file;
}

function dialerWith(files: readonly string[]) {
  return createDialer({
    route: () => Promise.resolve({ kind: 'direct', addresses: [{ address: '127.0.0.1', family: 4 }] }),
    trust: createTrust(files.map(readAnchors)),
    timeoutMs: 10_000,
    proxy: null,
  });
}

describe('the trust anchors', () => {
  it('are the roots of the system and the listed files', async () => {
    await using server = await tlsUpstream(company.issue(['api.example']));
    const target = authorityOf(`api.example:${server.port}`);
    await expect(dialerWith([]).connect(target)).rejects.toMatchObject({ code: 'upstream_tls' });
    const listed = await fileOf('company.pem', `Company root\n${company.cert}`);
    const socket = await dialerWith([listed]).connect(target);
    socket.destroy();
  });

  it('are read once', () => {
    const trust = createTrust([]);
    const target = authorityOf('api.example');
    expect(trust(target)).toBe(trust(authorityOf('other.example')));
    expect(trust(target)).toBeInstanceOf(createSecureContext().constructor);
  });

  it('are parsed again for another client only if its anchors differ', () => {
    const target = authorityOf('api.example');
    const { cert } = company;
    const [first, second, without] = [[cert], [cert], []].map((anchors) => createTrust(anchors)(target));
    expect(second).toBe(first);
    expect(without).not.toBe(second);
  });

  it.each([
    ['is not there', null],
    ['holds no certificate', 'hello\n'],
    [
      'holds a certificate that cannot be read',
      '-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n',
    ],
    ['is cut in its certificate', company.cert.slice(0, 300)],
    ['holds one good certificate and one that is cut', `${company.cert}\n${company.cert.slice(0, 300)}`],
  ])('cannot be read from a file that %s, and the failure is reported at once', async (what, text) => {
    const file =
      text === null ? join(folder, 'missing.pem') : await fileOf(`${what.replaceAll(' ', '-')}.pem`, text);
    expect(() => readAnchors(file)).toThrow(
      expect.objectContaining({
        code: 'config_invalid',
        message: expect.stringContaining(file),
        hint: 'upstream.ca takes paths of PEM files with CERTIFICATE blocks',
      }),
    );
  });
});
