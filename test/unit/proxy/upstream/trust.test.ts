import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSecureContext, getCACertificates, setDefaultCACertificates } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { createDialer } from '../../../../src/proxy/upstream/dialer.ts';
import { createTrust, readAnchors } from '../../../../src/proxy/upstream/tls.ts';
import { makeTestAuthority } from '../../../support/certificates.ts';
import { authorityOf } from '../policy/policy-for-test.ts';
import { tlsUpstream } from './upstream-for-test.ts';

const company = makeTestAuthority('Company CA');
const cluster = makeTestAuthority('Cluster CA');
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
    trust: createTrust(files.map((file) => readAnchors(file))),
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

  it('of one host are its only ones, and vouch for no other host', async () => {
    await using company1 = await tlsUpstream(company.issue(['cluster.example', 'api.example']));
    await using cluster1 = await tlsUpstream(cluster.issue(['cluster.example', 'api.example']));
    const dialer = createDialer({
      route: () => Promise.resolve({ kind: 'direct', addresses: [{ address: '127.0.0.1', family: 4 }] }),
      trust: createTrust([company.cert], [], new Map([['cluster.example', cluster.cert]])),
      timeoutMs: 10_000,
      proxy: null,
    });
    const reached = async (host: string, { port }: { readonly port: number }) =>
      dialer.connect(authorityOf(`${host}:${port}`)).then(
        (socket) => socket.destroy() && 'reached',
        (error: { readonly code: string }) => error.code,
      );
    expect([
      await reached('cluster.example', cluster1),
      await reached('cluster.example', company1),
      await reached('api.example', cluster1),
      await reached('api.example', company1),
    ]).toEqual(['reached', 'upstream_tls', 'upstream_tls', 'reached']);
  });

  it('of one host exclude the roots of the machine', async () => {
    const root = makeTestAuthority('Root of the machine');
    const before = getCACertificates('default');
    onTestFinished(() => setDefaultCACertificates(before));
    setDefaultCACertificates([...before, root.cert]);
    await using server = await tlsUpstream(root.issue(['cluster.example', 'api.example']));
    const dialer = createDialer({
      route: () => Promise.resolve({ kind: 'direct', addresses: [{ address: '127.0.0.1', family: 4 }] }),
      // No other test has these, so no context is shared.
      trust: createTrust([cluster.cert], [], new Map([['cluster.example', cluster.cert]])),
      timeoutMs: 10_000,
      proxy: null,
    });
    (await dialer.connect(authorityOf(`api.example:${server.port}`))).destroy();
    const pinned = dialer.connect(authorityOf(`cluster.example:${server.port}`));
    await expect(pinned).rejects.toMatchObject({ code: 'upstream_tls' });
  });

  it('of one host are not those of another, also with the same client certificate', () => {
    const { cert, key } = company.issue(['client']);
    const identity = { id: 1, ended: AbortSignal.abort(), material: () => ({ cert, key }) };
    const trust = createTrust([], [], new Map([['cluster.example', cluster.cert]]));
    const [pinned, other] = ['cluster.example', 'api.example'].map((host) =>
      trust({ ...authorityOf(host), identity }),
    );
    expect(pinned).not.toBe(other);
    expect(trust({ ...authorityOf('cluster.example'), identity })).toBe(pinned);
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
        hint: 'give upstream.ca the path of a PEM file with CERTIFICATE blocks',
      }),
    );
  });
});
