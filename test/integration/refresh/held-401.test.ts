import { oauth2Credential } from '../../support/oauth2-credential.ts';
import { describe, expect, test } from 'vitest';
import type { Credential } from '../../../src/domain/credential.ts';
import { onHeads } from '../../support/granted.ts';
import { openTunnel } from '../../support/raw-client.ts';
import { startSidekey } from '../../support/sidekey.ts';
import { startRawUpstream, startUpstream, upstreamHost } from '../../support/upstream.ts';

/** A grant whose token endpoint answers when the test says so, with this status. */
async function heldRefresh(unauthorized: string, end: 'end' | 'reset' = 'end') {
  const asked = Promise.withResolvers<(status: number) => void>();
  const tokenServer = await startUpstream((request, response) => {
    request.resume();
    asked.resolve((status) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(
        status === 200
          ? JSON.stringify({ access_token: 'second-token', token_type: 'Bearer', expires_in: 3600 })
          : '{"error":"temporarily_unavailable"}',
      );
    });
  });
  const seen: string[] = [];
  const closed = Promise.withResolvers<void>();
  const upstream = await startRawUpstream((socket) => {
    onHeads(socket, (head) => {
      seen.push(/authorization: bearer (.*)\r/i.exec(head)?.[1] ?? 'none');
      if (seen.at(-1) === 'second-token') socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      else if (end === 'end') socket.end(unauthorized, () => closed.resolve());
      else socket.write(unauthorized, () => closed.resolve());
    });
  });
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'acme' } },
    config: {
      providers: {
        acme: { token_endpoint: `${tokenServer.url}/token`, client_id: 'x', audience: [upstreamHost] },
      },
    },
  });
  const credential: Credential = oauth2Credential({
    accessToken: 'first-token',
    refreshToken: 'refresh-token',
    expiresAt: Date.now() + 3_600_000,
    clientId: 'x',
  });
  await sidekey.grant([upstream.authority], { credential });
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
  const answerRefresh = await asked.promise;
  await closed.promise;
  if (end === 'reset') upstream.reset();
  // The end of the upstream's connection is noticed before the refresh is answered.
  for (let i = 0; i < 50; i += 1) await new Promise((resolve) => setImmediate(resolve));
  return { answerRefresh, client, seen, upstream, sidekey };
}

describe('a 401 whose connection closes while the token is refreshed', () => {
  const closing = 'HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nX-Why: expired\r\n\r\nwho are you?';

  test('is forwarded complete if there is no other token: with its own status, fields and body', async () => {
    const { answerRefresh, client } = await heldRefresh(closing);
    answerRefresh(503);
    const answer = await client.response();
    expect(answer).toMatchObject({ status: 401, reason: 'Unauthorized', body: 'who are you?' });
    expect(answer.headers['x-why']).toBe('expired');
  });

  test.each(['end', 'reset'] as const)('is discarded if the request is sent again (%s)', async (end) => {
    const { answerRefresh, client, seen } = await heldRefresh(closing, end);
    answerRefresh(200);
    expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
    expect(seen).toEqual(['first-token', 'second-token']);
  });

  test('during its body does not prevent the repeated request', async () => {
    const { answerRefresh, client } = await heldRefresh(
      'HTTP/1.1 401 No\r\nContent-Length: 99\r\n\r\npart\n',
    );
    answerRefresh(200);
    expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
  });

  test('during its body is cut if there is no other token', async () => {
    const { answerRefresh, client } = await heldRefresh(
      'HTTP/1.1 401 No\r\nContent-Length: 99\r\n\r\npart\n',
    );
    answerRefresh(503);
    const text = await client.ended();
    expect(text).toMatch(/^HTTP\/1\.1 401 No\r\n/);
    // Behind a line break nothing is held back that a cut would lose (docs/leak-guard.md).
    expect(text.endsWith('part\n')).toBe(true);
  });

  test('by a reset is reported if there is no other token', async () => {
    const { answerRefresh, client } = await heldRefresh(closing, 'reset');
    answerRefresh(503);
    expect(await client.response()).toMatchObject({ status: 502, reason: 'upstream_protocol' });
  });

  test('is not replayed for a client that has disconnected', async () => {
    const { answerRefresh, client, seen, sidekey } = await heldRefresh(closing);
    client.socket.destroy();
    await sidekey.audited((line) => line.event === 'outcome' && line.outcome === 'aborted');
    answerRefresh(200);
    await sidekey.audited((line) => line.event === 'grant.refreshed');
    expect(seen).toEqual(['first-token']);
  });
});
