/** Connections, known protocols and TLS sessions are separate for each client identity. */
import type { Socket } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { ClientIdentity } from '../../../../src/proxy/policy/peer.ts';
import { createConnections } from '../../../../src/proxy/upstream/h1-pool.ts';
import { createKnownProtocols } from '../../../../src/proxy/upstream/h2-session.ts';
import { sessionsByIdentity } from '../../../../src/proxy/upstream/tls.ts';
import { authorityOf } from '../policy/policy-for-test.ts';
import { ask, echo, nextTurn, recordingUser } from './connection-user.ts';
import { manualClock } from '../../lib/manual-clock.ts';
import { dialerForTest, upstream } from './upstream-for-test.ts';

let last = 0;

function identity(): ClientIdentity & { end(): void } {
  const ended = new AbortController();
  return {
    id: (last += 1),
    ended: ended.signal,
    material: () => ({ cert: '', key: '' }),
    end: () => ended.abort(),
  };
}

async function setup() {
  const closed: Socket[] = [];
  const ends: (() => void)[] = [];
  const server = await upstream((socket) => {
    echo(socket);
    socket.once('close', () => {
      closed.push(socket);
      for (const end of ends.splice(0)) end();
    });
  });
  onTestFinished(() => server[Symbol.asyncDispose]());
  const connections = createConnections({
    dialer: dialerForTest({ pinned: { 'api.example': '127.0.0.1' } }),
    limits: { upstream_connections: 4, upstream_wait: 1_000, upstream_keep_alive: 30_000 },
    clock: manualClock(),
  });
  const request = (who: ClientIdentity | undefined) => {
    const user = recordingUser();
    connections.request({ ...authorityOf(`api.example:${server.port}`, 'http'), identity: who }, user);
    return user;
  };
  /** Resolves when the server has seen so many connections close. */
  const closings = async (count: number) => {
    for (;;) {
      if (closed.length >= count) return;
      await new Promise<void>((resolve) => void ends.push(resolve));
    }
  };
  return { server, connections, request, closings };
}

describe('connections with a client identity', () => {
  it('are reused only with the same identity', async () => {
    const { server, request } = await setup();
    const [one, two] = [identity(), identity()];
    const first = await ask(request(one), 'a');
    first.release(null);
    await nextTurn();
    expect(await request(undefined).connection).not.toBe(first);
    expect(await request(two).connection).not.toBe(first);
    expect(await request(one).connection).toBe(first);
    expect(server.accepted()).toBe(3);
  });

  it('close while idle when the identity ends; other connections stay', async () => {
    const { request, closings } = await setup();
    const [one, two] = [identity(), identity()];
    const kept = await ask(request(two), 'b');
    for (const connection of [await ask(request(one), 'a'), kept]) connection.release(null);
    await nextTurn();
    one.end();
    await closings(1);
    expect(await request(two).connection).toBe(kept);
  });

  it('close at their release if the identity has ended', async () => {
    const { request, closings } = await setup();
    const one = identity();
    const used = await ask(request(one), 'a');
    one.end();
    used.release(null);
    await closings(1);
    // The session would not be resumed in any case.
    expect(await request(one).connection).not.toBe(used);
  });

  it('leave no listener at a living identity', async () => {
    const { request, closings } = await setup();
    const one = identity();
    let listening = 0;
    const { ended } = one;
    const watched: AbortSignal = Object.create(ended, {
      aborted: { get: () => ended.aborted },
      addEventListener: { value: () => void (listening += 1) },
      removeEventListener: { value: () => void (listening -= 1) },
    }) as AbortSignal;
    const seen = { ...one, ended: watched };
    (await ask(request(seen), 'a')).destroy();
    await closings(1);
    expect(listening).toBe(0);
  });
});

it('known protocols are separate for each identity', () => {
  const known = createKnownProtocols(manualClock());
  const authority = authorityOf('api.example');
  known.learn({ ...authority, identity: identity() }, { protocol: 'h2', extendedConnect: false });
  expect(known.get(authority)).toBe(undefined);
  expect(known.get({ ...authority, identity: identity() })).toBe(undefined);
});

it('TLS sessions are separate for each identity', () => {
  const sessions = sessionsByIdentity(manualClock());
  const authority = authorityOf('api.example');
  const [one, two] = [
    { ...authority, identity: identity() },
    { ...authority, identity: identity() },
  ];
  sessions(one).keep('api.example', Buffer.from('of one'), undefined);
  sessions(authority).keep('api.example', Buffer.from('of nobody'), undefined);
  expect(sessions(two).take('api.example')).toBe(undefined);
  expect(sessions(one).take('api.example')?.bytes.toString()).toBe('of one');
  expect(sessions(authority).take('api.example')?.bytes.toString()).toBe('of nobody');
});
