/** `max_response` of a rule: what counts is the body that comes. */
import type { RequestListener } from 'node:http';
import { expect, test } from 'vitest';
import { openTunnel } from '../../support/raw-client.ts';
import { startSidekey } from '../../support/sidekey.ts';
import { startUpstream } from '../../support/upstream.ts';

async function bounded(listener: RequestListener) {
  const upstream = await startUpstream(listener);
  const rules = [{ methods: ['GET', 'HEAD'], max_response: 10 }];
  const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme', rules } } });
  await sidekey.grant([upstream.authority]);
  const client = await openTunnel(sidekey, upstream.authority);
  const send = (method: string) => client.send(`${method} / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
  return { client, send, sidekey };
}

test('the declared length of a 304 or of a response to HEAD does not count', async () => {
  const { client, send } = await bounded((request, response) =>
    response.writeHead(request.method === 'HEAD' ? 200 : 304, { 'content-length': '5000' }).end(),
  );
  send('GET');
  expect(await client.response()).toMatchObject({ status: 304, headers: { 'content-length': '5000' } });
  send('HEAD');
  expect(await client.response('HEAD')).toMatchObject({ status: 200 });
});

test('a body longer than the limit is cut, and the audit log records why', async () => {
  const { client, send, sidekey } = await bounded((_request, response) => {
    response.write('x'.repeat(10));
    response.end('y');
  });
  send('GET');
  expect(await client.ended()).not.toContain('y\r\n');
  expect(await sidekey.audited(({ event }) => event === 'outcome')).toMatchObject({
    outcome: 'aborted',
    code: 'rule_denied',
  });
});
