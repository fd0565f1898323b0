/**
 * `Connection: content-type` took the field off by which a rule had judged the request: it was let through as
 * JSON, and upstream was free to take it for something else.
 */
import { expect, test } from 'vitest';
import { openTunnel } from '../support/raw-client.ts';
import { startSidekey } from '../support/sidekey.ts';
import { startUpstream } from '../support/upstream.ts';

test('a request reaches the upstream with the fields that rules checked, even if Connection names them', async () => {
  const seen: unknown[] = [];
  const upstream = await startUpstream((request, response) => {
    seen.push([request.headers['content-type'], request.headers['content-encoding']]);
    request.resume().on('end', () => response.end('ok'));
  });
  const rules = [{ content_types: ['application/json'] }];
  const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme', rules } } });
  await sidekey.grant([upstream.authority]);
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(
    `POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\nConnection: content-type, Content-Encoding\r\n`,
    'Content-Type: application/json\r\nContent-Encoding: identity\r\nContent-Length: 6\r\n\r\n<xml/>',
  );
  expect((await client.response()).status).toBe(200);
  expect(seen).toEqual([['application/json', 'identity']]);
});
