import { once } from 'node:events';
import { connect } from 'node:tls';
import { expect, onTestFinished, test } from 'vitest';
import { SidekeyError } from '../../../../src/lib/errors.ts';
import { askEndpoint } from '../../../../src/grants/oauth/http.ts';
import { defaultLimits } from '../../../../src/proxy/policy/limits.ts';
import { createTokenFetch } from '../../../../src/proxy/upstream/token-fetch.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../../support/upstream.ts';

/** A token endpoint, and a way to ask it over a connection of its own. */
async function tokenEndpoint() {
  const requests: (readonly [length: string | undefined, body: string])[] = [];
  const upstream = await startUpstream((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (text: string) => (body += text));
    request.once('end', () => {
      requests.push([request.headers['content-length'], body]);
      response.writeHead(401).end('no');
    });
  });
  const opened: string[] = [];
  const tokens = createTokenFetch(
    {
      async connect() {
        const socket = connect({ port: upstream.port, ca: upstreamCa, servername: upstreamHost });
        await once(socket, 'secureConnect');
        opened.push('open');
        return socket;
      },
      connectBlind: () => Promise.reject(new Error('It is not for tunnels.')),
    },
    defaultLimits,
  );
  onTestFinished(() => tokens.close());
  const ask = (beforeSend: () => Promise<void>) =>
    askEndpoint(
      {
        name: 'the token endpoint',
        url: `${upstream.url}/token`,
        method: 'POST',
        headers: {},
        body: 'a=b&c=ü',
      },
      { fetch: tokens.fetch, now: Date.now, beforeSend },
    );
  return { ask, requests, opened };
}

test('the check of a request runs on the open connection, before the first byte is sent with the right length', async () => {
  const { ask, requests, opened } = await tokenEndpoint();
  const answer = await ask(async () => {
    expect(opened).toEqual(['open']);
    // A byte that was sent already would be there after a turn.
    await new Promise((resolve) => setImmediate(resolve));
    expect(requests).toEqual([]);
  });
  expect(answer).toMatchObject({ kind: 'answer', status: 401, text: 'no' });
  expect(requests).toEqual([['8', 'a=b&c=ü']]);
});

test('a request whose check fails is never sent, and fails with the reason of the check', async () => {
  const { ask, requests, opened } = await tokenEndpoint();
  const answer = await ask(() => Promise.reject(new SidekeyError('refresh_failed', 'held up')));
  expect(answer).toMatchObject({ kind: 'later', reason: 'held up', retryAfterMs: null });
  expect(opened).toEqual(['open']);
  expect((await ask(() => Promise.resolve())).kind).toBe('answer');
  expect(requests).toHaveLength(1);
});
