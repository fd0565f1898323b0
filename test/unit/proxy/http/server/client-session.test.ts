import { once } from 'node:events';
import { connect } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ClientSession, type SessionService } from '../../../../../src/proxy/http/server/h2-session.ts';
import { systemTimers } from '../../../../../src/lib/timers.ts';
import { defaultLimits } from '../../../../../src/proxy/policy/limits.ts';
import { socketPair } from '../../socket-pair.ts';

/** A session whose exchanges end when the test says so. */
async function sessionOf(streams: number) {
  const pair = await socketPair();
  const begun: { readonly target: string; readonly end: () => void }[] = [];
  const waiting: (() => void)[] = [];
  const service: SessionService = {
    timers: systemTimers,
    now: () => performance.now(),
    limits: () => ({ ...defaultLimits, client_streams: streams }),
    exchange: ({ head }, { reply }) =>
      new Promise((resolve) => {
        const end = () => {
          reply.head(200, 'OK', []);
          reply.end([]);
          resolve();
        };
        begun.push({ target: head.target, end });
        for (const wake of waiting.splice(0)) wake();
      }),
    webSocket: () => Promise.resolve(),
    denied() {},
    left() {},
  };
  const client = { address: '127.0.0.1:1', loopback: true, owner: () => 'own' as const, tunnel: null };
  // Every socket has the members of a TLS socket that the session uses.
  const session = new ClientSession(pair.near as unknown as TLSSocket, client, service, false);
  const far = connect('http://a.test', { createConnection: () => pair.far }).on('error', () => {});
  await once(far, 'remoteSettings');
  const until = async (count: number) => {
    while (begun.length < count) await new Promise<void>((resolve) => void waiting.push(resolve));
  };
  const ping = () => new Promise<void>((resolve) => far.ping(() => resolve()));
  const ask = (path: string) => {
    const stream = far.request({ ':path': path, ':scheme': 'https' });
    return stream.on('error', () => {});
  };
  onTestFinished(() => pair[Symbol.dispose]());
  return { begun, until, ping, ask, far, session };
}

describe('a session with a client', () => {
  it('counts streams that the client reset until their exchanges end, and queues others', async () => {
    const { begun, until, ping, ask, far } = await sessionOf(2);
    const first = [ask('/1'), ask('/2')];
    await until(2);
    for (const stream of first) stream.close(8);
    await ping();
    // As many more streams, some of them reset before they begin.
    const third = ask('/3');
    await ping();
    third.close(8);
    await ping();
    const fourth = ask('/4');
    await ping();
    expect(begun.map(({ target }) => target)).toEqual(['/1', '/2']);
    const answered = once(fourth, 'response');
    begun[0]!.end();
    await until(3);
    expect(begun.map(({ target }) => target)).toEqual(['/1', '/2', '/4']);
    begun[2]!.end();
    await answered;
    far.destroy();
  });

  it('that is drained accepts no stream, and closes after the active streams', async () => {
    const { begun, until, ask, far, session } = await sessionOf(2);
    const stream = ask('/1');
    await until(1);
    const goaway = once(far, 'goaway');
    session.drain();
    await goaway;
    const answered = once(stream, 'response');
    begun[0]!.end();
    await answered;
    await session.drained;
  });
});
