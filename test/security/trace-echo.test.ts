import { expect, test } from 'vitest';
import { granted } from '../support/granted.ts';
import { openTunnel } from '../support/raw-client.ts';

test('TRACE is refused, because its response would echo the credential', async () => {
  const seen: (string | undefined)[] = [];
  const { upstream, sidekey } = await granted((request, response) => {
    seen.push(request.headers.authorization);
    response.end(JSON.stringify(request.rawHeaders));
  });
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(`TRACE / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
  expect(await client.response()).toMatchObject({ status: 403, reason: 'policy_violation' });
  expect(seen).toEqual([]);
});
