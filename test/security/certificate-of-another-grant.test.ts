import { describe, expect, test } from 'vitest';
import {
  certificateOf,
  sidekeyOfBank,
  startCertificateUpstream,
  type CertificateUpstreamOptions,
  type Seen,
} from '../support/certificate-grants.ts';
import { proxiedGet } from '../support/proxied-get.ts';
import { ask, openSession } from '../support/h2-client.ts';
import { startPlainUpstream } from '../support/upstream.ts';

/**
 * A connection, or a TLS session, that was made with the certificate of one grant is a credential for
 * whatever is sent on it. Here requests of several grants go to one host by turns and at once; each says in
 * its path whose it is.
 */

/** `twin` has the very certificate of `ann`, in a grant of its own. */
const names = ['ann', 'bob', 'twin'] as const;

async function setup(options: CertificateUpstreamOptions = {}) {
  const upstream = await startCertificateUpstream({ certificate: 'optional', ...options });
  const sidekey = await sidekeyOfBank([upstream.authority]);
  const ann = certificateOf('ann');
  const credentials = { ann, bob: certificateOf('bob'), twin: ann };
  for (const name of names) {
    await sidekey.grant([upstream.authority], { name, provider: 'bank', credential: credentials[name] });
  }
  const get = (name: string, path = '') =>
    proxiedGet(sidekey.url, `${upstream.url}/${path}${name}`, { 'Sidekey-Grant': name });
  return { upstream, sidekey, get };
}

const closing: CertificateUpstreamOptions['answer'] = (request, response) => {
  if (request.httpVersion === '1.1') response.setHeader('connection', 'close');
  response.end('ok');
};

/** Whose request a path says it is, and whom the server is to see then. */
function meant({ path }: Seen): { readonly whose: string; readonly who: string | null } {
  const whose = path.split('/').at(-1)!;
  return { whose: path.startsWith('/open/') ? 'nobody' : whose, who: expected(path, whose) };
}

function expected(path: string, whose: string): string | null {
  if (path.startsWith('/open/')) return null;
  return whose === 'twin' ? 'ann' : whose;
}

/** Each request came as the one that it is of, and no connection served two of them. */
function assertApart(seen: readonly Seen[]): void {
  expect(seen.map(({ who }) => who)).toEqual(seen.map((it) => meant(it).who));
  const users = new Map<number, Set<string>>();
  for (const it of seen)
    users.set(it.connection, (users.get(it.connection) ?? new Set()).add(meant(it).whose));
  expect([...users.values()].map(({ size }) => size)).toEqual(Array(users.size).fill(1));
}

describe.each(['TLSv1.2', 'TLSv1.3'] as const)('grants with certificates at one host, with %s', (tls) => {
  test('use separate connections when used in turn', async () => {
    const { upstream, get } = await setup({ tls });
    for (let round = 0; round < 3; round += 1) {
      for (const name of names) await get(name);
      await get('ann', 'open/');
    }
    assertApart(upstream.seen);
    // Each used its own again.
    expect(upstream.connections()).toBe(4);
  });

  test('use separate connections when used at once', async () => {
    const { upstream, get } = await setup({ tls });
    for (let round = 0; round < 3; round += 1) {
      await Promise.all(
        Array.from({ length: 24 }, (_, index) => get(names[index % 3]!, index % 4 === 0 ? 'open/' : '')),
      );
    }
    expect(upstream.seen).toHaveLength(72);
    assertApart(upstream.seen);
  });

  test('use separate HTTP/2 sessions', async () => {
    const { upstream, sidekey } = await setup({ tls });
    const session = await openSession(sidekey, upstream.authority);
    const asked = Array.from({ length: 24 }, (_, index) => {
      const name = names[index % 3]!;
      return ask(session, { ':path': `${index % 4 === 0 ? '/open/' : '/'}${name}`, 'sidekey-grant': name });
    });
    expect((await Promise.all(asked)).map(({ status }) => status)).toEqual(Array(24).fill(200));
    assertApart(upstream.seen);
    expect(upstream.seen.every(({ http }) => http === '2.0')).toBe(true);
    expect(upstream.connections()).toBe(4);
  });

  test('do not share TLS sessions with each other or with requests without a grant', async () => {
    const { upstream, get } = await setup({ tls, answer: closing });
    for (let round = 0; round < 3; round += 1) {
      await get('ann', 'open/');
      for (const name of names) await get(name);
    }
    assertApart(upstream.seen);
    // The first of each is a full handshake; and then each resumes its own.
    expect(upstream.seen.map(({ resumed }) => resumed)).toEqual(
      Array.from({ length: 12 }, (_, index) => index >= 4),
    );
  });
});

describe('the certificate of a grant', () => {
  test('is not presented to a host outside its sealed audience', async () => {
    const [inside, outside] = [
      await startCertificateUpstream(),
      await startCertificateUpstream({ certificate: 'optional' }),
    ];
    const sidekey = await sidekeyOfBank([inside.authority, outside.authority]);
    await sidekey.grant([inside.authority], {
      name: 'bank',
      provider: 'bank',
      credential: certificateOf('ann'),
    });
    const answer = await proxiedGet(sidekey.url, outside.url);
    expect(answer).toMatchObject({ status: 403, body: expect.stringContaining('Wrong audience') as string });
    expect(outside.connections()).toBe(0);
  });

  test('is never sent over plain http, even if the domain allows plain http', async () => {
    const seen: string[] = [];
    const plain = await startPlainUpstream((request, response) => {
      seen.push(request.url ?? '');
      response.end('in the clear');
    });
    const sidekey = await sidekeyOfBank([plain.authority], {
      domains: { [plain.authority]: { grant: 'bank', allow_plain_http: true } },
    });
    await sidekey.grant([plain.authority], {
      name: 'bank',
      provider: 'bank',
      credential: certificateOf('ann'),
    });
    const answer = await proxiedGet(sidekey.url, plain.url);
    expect(answer).toMatchObject({
      status: 403,
      body: expect.stringContaining('insecure_transport') as string,
    });
    expect(seen).toEqual([]);
  });

  test('is never sent as a bearer token: if the provider places it in a field, the request is refused', async () => {
    const upstream = await startCertificateUpstream({ certificate: 'optional' });
    const sidekey = await sidekeyOfBank([upstream.authority], {
      config: { providers: { bank: { audience: [upstream.authority], inject: 'bearer' } } },
    });
    await sidekey.grant([upstream.authority], {
      name: 'bank',
      provider: 'bank',
      credential: certificateOf('ann'),
    });
    const answer = await proxiedGet(sidekey.url, upstream.url);
    expect(answer).toMatchObject({
      status: 403,
      body: expect.stringContaining('in TLS handshakes only') as string,
    });
    expect(upstream.connections()).toBe(0);
  });

  test('is required: a grant with a token is refused, with or without a certificate', async () => {
    const upstream = await startCertificateUpstream({ certificate: 'optional' });
    const sidekey = await sidekeyOfBank([upstream.authority]);
    await sidekey.grant([upstream.authority], { name: 'bank', provider: 'bank' });
    const answer = await proxiedGet(sidekey.url, upstream.url);
    expect(answer).toMatchObject({
      status: 403,
      body: expect.stringContaining('this grant has none') as string,
    });
    expect(upstream.connections()).toBe(0);
  });
});
