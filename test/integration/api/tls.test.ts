import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request, type RequestOptions } from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { makeSignInLink } from '../../../src/api/web-session.ts';
import { makeTestAuthority } from '../../support/certificates.ts';
import { startService } from '../../support/service.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { startUpstream } from '../../support/upstream.ts';

const authority = makeTestAuthority('admin');

async function startWithTls(admin: object = {}) {
  const folder = await tempFolder();
  const tls = { cert: join(folder, 'admin.crt'), key: join(folder, 'admin.key') };
  const { cert, key } = authority.issue(['localhost', '127.0.0.1']);
  await Promise.all([writeFile(tls.cert, cert), writeFile(tls.key, key)]);
  const {
    sidekey,
    url,
    key: makeKey,
  } = await startService({ config: { admin: { listen: '127.0.0.1:0', tls, ...admin } } });
  const send = async (path: string, options: RequestOptions = {}, body = '') => {
    const sent = request(url + path, { ca: authority.cert, agent: false, ...options }).end(body);
    const [answer] = (await once(sent, 'response')) as [IncomingMessage];
    return { status: answer.statusCode, headers: answer.headers, body: await text(answer) };
  };
  return { sidekey, url, send, makeKey };
}

test('admin.tls serves the API and the pages with the certificate of the files', async () => {
  const { url, send, makeKey } = await startWithTls();
  expect(url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
  expect((await send('/')).body).toContain('<!doctype html>');
  const listed = await send('/v2/grants', { headers: { 'x-api-key': await makeKey() } });
  expect([listed.status, JSON.parse(listed.body)]).toMatchObject([200, { data: [] }]);
  await expect(fetch(url.replace('https', 'http'))).rejects.toThrow('fetch failed');
});

test('admin.tls gives the cookie of a session the prefix of the host, and to secure connections alone', async () => {
  const { sidekey, url, send } = await startWithTls();
  await sidekey.proxy.state.store.people.insert({
    name: 'alice',
    role: 'operator',
    user: null,
    createdAt: 1,
    disabledAt: null,
    generation: 0,
    identity: null,
  });
  const { path } = await makeSignInLink({ ...sidekey.proxy.state, now: Date.now }, 'alice');
  const { status, headers } = await send(path, { method: 'POST', headers: { origin: url } });
  expect([status, headers['set-cookie']?.[0]]).toEqual([
    303,
    expect.stringMatching(/^__Host-sidekey=.*; Secure$/),
  ]);
});

test('admin.tls gives the cookie of a sign-in at the issuer the prefix of the host too', async () => {
  const { url: issuer } = await startUpstream((_request, response) => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ issuer, authorization_endpoint: `${issuer}/authorize` }));
  });
  const oidc = { issuer, client_id: 'sidekey', roles: { user: { hd: ['acme.test'] } } };
  const { url, send } = await startWithTls({ oidc });
  const begin = { method: 'POST', headers: { origin: url } };
  const { headers, body } = await send('/sign-in/oidc', begin, JSON.stringify({ return_to: '/' }));
  expect(body).toContain(encodeURIComponent(`${url}/sign-in/oidc/callback`));
  expect(headers['set-cookie']?.[0]).toMatch(
    /^__Host-sidekey-sign-in-\w{16}=.*; Path=\/; HttpOnly; Secure; SameSite=Lax$/,
  );
});
