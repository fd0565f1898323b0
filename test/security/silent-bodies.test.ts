/**
 * An agent that announced bodies and did not send them kept every connection of the proxy, or every
 * connection to one upstream, and all other agents waited without an answer.
 */
import type { RequestListener } from 'node:http';
import { expect, test } from 'vitest';
import { openTunnel, problemOf } from '../support/raw-client.ts';
import { startSidekey } from '../support/sidekey.ts';
import { startUpstream } from '../support/upstream.ts';

async function setup(limits: object, rules: readonly object[] = [{ methods: ['GET', 'POST'] }]) {
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>();
  const listener: RequestListener = (request, response) => {
    arrive();
    request.on('error', () => {}).resume();
    request.on('end', () => response.end('ok'));
  };
  const upstream = await startUpstream(listener);
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'acme', rules } },
    config: { limits },
  });
  await sidekey.grant([upstream.authority]);
  const open = () => openTunnel(sidekey, upstream.authority);
  const head = (request: string, fields = '') =>
    `${request} HTTP/1.1\r\nHost: ${upstream.authority}\r\n${fields}\r\n`;
  return { upstream, sidekey, open, head, arrived };
}

const json = 'Content-Type: application/json\r\n';

test('a body that a rule waits for is refused if it never arrives, and its connection is closed', async () => {
  const rules = [{ paths: ['/graphql'], graphql: { types: ['query'] } }];
  const { open, head, sidekey, upstream } = await setup({ client_body_idle: '50ms' }, rules);
  const client = await open();
  client.send(head('POST /graphql', `${json}Content-Length: 1000\r\n`), '{');
  const answer = await client.response();
  expect([answer.status, answer.headers['sidekey-error']]).toEqual([400, 'bad_request']);
  expect(problemOf(answer)).toMatchObject({
    detail: 'Nothing of the request body came for 0.05 s.',
    hint: expect.stringContaining('client_body_idle'),
  });
  expect(await client.ended()).toBe('');
  expect(await sidekey.audited(({ event }) => event === 'denied')).toMatchObject({ code: 'bad_request' });
  expect(upstream.connections()).toBe(0);
});

test('a forwarded body that stops is refused, and its upstream connection is released', async () => {
  const { open, head, sidekey, upstream } = await setup({ client_body_idle: '50ms' });
  const client = await open();
  client.send(head('POST /slow', 'Content-Length: 1000\r\n'), 'x');
  expect((await client.response()).headers['sidekey-error']).toBe('bad_request');
  await client.ended();
  await upstream.allClosed();
  expect(await sidekey.audited(({ event }) => event === 'outcome')).toMatchObject({
    code: 'bad_request',
    bytes_in: 1,
  });
});

test('a request that gets no free upstream connection is answered, and other requests do not wait', async () => {
  const limits = { upstream_connections: 1, upstream_connect: '1s', upstream_wait: '10ms' };
  const { open, head, arrived } = await setup(limits);
  const slow = await open();
  slow.send(head('POST /slow', 'Content-Length: 2\r\n'), 'x');
  await arrived;
  const other = await open();
  other.send(head('GET /me'));
  const answer = await other.response();
  expect([answer.status, answer.headers['sidekey-error']]).toEqual([503, 'overloaded']);
  expect(problemOf(answer).hint).toContain('limits.upstream_connections');
  slow.send('x');
  expect((await slow.response()).status).toBe(200);
  other.send(head('GET /me'));
  expect((await other.response()).status).toBe(200);
});
