import { expect, test } from 'vitest';
import type { TokenFetch } from '../../../../src/grants/oauth/http.ts';
import { askUserinfo, claimsIn } from '../../../../src/grants/oauth/identity.ts';
import { fakeEndpoint } from './fake-endpoint.ts';
import { newDpopKey } from '../../../../src/proxy/schemes/dpop-proof.ts';

const endpoint = 'https://login.acme.test/userinfo';

/** Asks an endpoint that answers so, and returns the answer with the headers of each request. */
async function ask(
  answers: readonly Response[],
  { url = endpoint, subject, dpop = false }: { url?: string; subject?: string; dpop?: boolean } = {},
) {
  const sent: Record<string, string>[] = [];
  const fetch: TokenFetch = async (_url, { headers }) => {
    sent.push(headers);
    return answers[sent.length - 1] ?? new Response('', { status: 500 });
  };
  const binding = dpop ? { dpop: { key: newDpopKey('ES256'), isBound: true } } : {};
  const credential = { accessToken: 'the-access-token', ...binding };
  return { answer: await askUserinfo(url, credential, subject, { fetch, now: Date.now }), sent };
}

test('the claims are short plain texts without the token, and pictures only with https', () => {
  const claims = { sub: 'a', name: 'A\u202eB', email: 'x the-token', picture: 'javascript:alert(1)', age: 3 };
  expect(claimsIn(claims, ['the-token'])).toEqual({ sub: 'a', name: 'A B' });
  expect(claimsIn({ picture: 'https://img.test/a.png' }, [])).toEqual({ picture: 'https://img.test/a.png' });
  expect(claimsIn({ picture: `https://img.test/${'a'.repeat(400)}` }, [])).toEqual({});
});

test('a bearer token is sent only to https, and no redirect is followed', async () => {
  const known = await ask([Response.json({ sub: 'a' })], { subject: 'a' });
  expect(known.answer).toEqual({ kind: 'known', status: 200, claims: { sub: 'a' } });
  expect(known.sent).toMatchObject([{ authorization: 'Bearer the-access-token' }]);
  const cleartext = await ask([], { url: 'http://login.acme.test/userinfo' });
  expect(cleartext).toMatchObject({ answer: { kind: 'unknown' }, sent: [] });
  const redirect = new Response(null, { status: 302, headers: { location: 'https://evil.test/' } });
  expect(await ask([redirect])).toMatchObject({ answer: { kind: 'unknown' }, sent: [{}] });
});

test('a response without the subject of the ID token is rejected', async () => {
  for (const body of [{ email: 'ceo@acme.test' }, { sub: 'b', email: 'ceo@acme.test' }]) {
    expect((await ask([Response.json(body)], { subject: 'a' })).answer.kind).toBe('unknown');
  }
});

test('a bound token is sent with a DPoP proof, which repeats the nonce of the server', async () => {
  const challenge = new Response('{}', { status: 401, headers: { 'dpop-nonce': 'n-1' } });
  const { answer, sent } = await ask([challenge, Response.json({ sub: 'a' })], { dpop: true });
  expect(answer.kind).toBe('known');
  expect(sent.map(({ authorization }) => authorization)).toEqual(Array(2).fill('DPoP the-access-token'));
  const payload = JSON.parse(Buffer.from(sent[1]!['dpop']!.split('.')[1]!, 'base64url').toString()) as object;
  expect(payload).toMatchObject({ htm: 'GET', htu: endpoint, nonce: 'n-1', ath: expect.any(String) });
});

test('the request has the User-Agent of the provider definition', async () => {
  const { fetch, asked } = fakeEndpoint(() => Response.json({ sub: 'a' }));
  const io = { fetch, now: Date.now, userAgent: 'web:acme:v2' };
  await askUserinfo(endpoint, { accessToken: 'token' }, undefined, io);
  expect(asked[0]?.headers).toMatchObject({ 'user-agent': 'web:acme:v2' });
});
