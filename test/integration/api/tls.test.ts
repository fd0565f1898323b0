import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request, type RequestOptions } from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { makeTestAuthority } from '../../support/certificates.ts';
import { startService } from '../../support/service.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const authority = makeTestAuthority('admin');

async function startWithTls() {
  const folder = await tempFolder();
  const tls = { cert: join(folder, 'admin.crt'), key: join(folder, 'admin.key') };
  const { cert, key } = authority.issue(['localhost', '127.0.0.1']);
  await Promise.all([writeFile(tls.cert, cert), writeFile(tls.key, key)]);
  const { url, key: makeKey } = await startService({ config: { admin: { listen: '127.0.0.1:0', tls } } });
  const send = async (path: string, options: RequestOptions = {}) => {
    const sent = request(url + path, { ca: authority.cert, agent: false, ...options }).end();
    const [answer] = (await once(sent, 'response')) as [IncomingMessage];
    return { status: answer.statusCode, headers: answer.headers, body: await text(answer) };
  };
  return { url, send, makeKey };
}

test('admin.tls serves the API and the pages with the configured certificate files', async () => {
  const { url, send, makeKey } = await startWithTls();
  expect(url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
  expect((await send('/')).body).toContain('<!doctype html>');
  const listed = await send('/v2/grants', { headers: { 'x-api-key': await makeKey() } });
  expect([listed.status, JSON.parse(listed.body)]).toMatchObject([200, { data: [] }]);
  await expect(fetch(url.replace('https', 'http'))).rejects.toThrow('fetch failed');
});
