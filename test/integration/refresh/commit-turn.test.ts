/**
 * Between the last byte of a token endpoint's answer and the commit lies no turn of the event loop, so
 * nothing else.
 */
import { connect } from 'node:tls';
import { gzipSync } from 'node:zlib';
import { DatabaseSync } from 'node:sqlite';
import { Agent, fetch as undiciFetch } from 'undici';
import { expect, onTestFinished, test } from 'vitest';
import { renew } from '../../../src/grants/oauth/renewal.ts';
import type { Store } from '../../../src/store/store.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';
import {
  acme,
  hour,
  processesForTest,
  oauth2,
  storedRefreshToken,
  tokenOf,
} from '../../unit/grants/processes.ts';

/** A fetch, and when its connections brought something last, in turns of the event loop. */
function watchedFetch(port: number) {
  let turn = 0;
  let isOver = false;
  let lastByteAt = -1;
  (function next() {
    turn += 1;
    if (!isOver) setImmediate(next);
  })();
  onTestFinished(() => void (isOver = true));
  const agent = new Agent({
    connect: (_options, callback) => {
      const socket = connect({ host: '127.0.0.1', port, servername: upstreamHost, ca: upstreamCa });
      const push = socket.push.bind(socket);
      // Before whoever reads it.
      socket.push = (chunk: unknown, encoding?: BufferEncoding) => {
        lastByteAt = turn;
        return push(chunk, encoding);
      };
      socket.once('secureConnect', () => callback(null, socket));
    },
  });
  onTestFinished(() => agent.destroy());
  const fetch: unknown = (url: string, init: Parameters<typeof undiciFetch>[1] = {}) =>
    undiciFetch(url, { ...init, dispatcher: agent });
  return { fetch: fetch as typeof globalThis.fetch, turn: () => turn, lastByteAt: () => lastByteAt };
}

test.each(['with a length', 'in chunks', 'in two pieces', 'packed where that is asked for'])(
  'a token response %s is committed in the same event loop turn as its last byte',
  async (way) => {
    const server = await startUpstream((request, response) => {
      request.resume().once('end', () => {
        const text = JSON.stringify({
          access_token: 'access-2',
          token_type: 'Bearer',
          expires_in: 3_600,
          refresh_token: 'refresh-2',
        });
        response.setHeader('content-type', 'application/json');
        if (way === 'with a length') response.setHeader('content-length', text.length);
        if (way === 'in two pieces')
          response.write(text.slice(0, 20), () => setImmediate(() => response.end(text.slice(20))));
        else if (way.startsWith('packed') && /gzip/.test(String(request.headers['accept-encoding'])))
          response.setHeader('content-encoding', 'gzip').end(gzipSync(text));
        else response.end(text);
      });
    });
    const watched = watchedFetch(server.port);
    const committedAt: number[] = [];
    const { process, add, time } = await processesForTest();
    const { registry, source } = await process({
      providers: () => ({ ...acme, tokenEndpoint: `${server.url}/token` }),
      refresh: (request, io) => renew(request, { ...io, fetch: watched.fetch, now: time.now }),
      wrapStore: (store: Store) => ({
        ...store,
        grants: {
          ...store.grants,
          async replace(...args) {
            const [{ revision }] = args;
            const replaced = store.grants.replace(...args);
            // The state after a kill: another connection reads it while this one still waits for the disk.
            const other = new DatabaseSync(store.location, { readOnly: true });
            const select = other.prepare('select revision from grants');
            const onDisk = () => select.get()?.['revision'];
            for (let n = 0; n < 1_000 && onDisk() !== revision; n += 1) await Promise.resolve();
            expect(onDisk()).toBe(revision);
            other.close();
            committedAt.push(watched.turn() - watched.lastByteAt());
            return replaced;
          },
        },
      }),
    });
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-2');
    expect(await storedRefreshToken(registry, grant.id)).toBe('refresh-2');
    expect(committedAt).toEqual([0]);
  },
);
