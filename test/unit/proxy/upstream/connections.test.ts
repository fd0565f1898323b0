import { once } from 'node:events';
import { Socket } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { SidekeyError } from '../../../../src/lib/errors.ts';
import { createConnections } from '../../../../src/proxy/upstream/h1-pool.ts';
import type { Dialer } from '../../../../src/proxy/upstream/dialer.ts';
import { makeTestAuthority } from '../../../support/certificates.ts';
import { authorityOf } from '../policy/policy-for-test.ts';
import { ask, closed, echo, nextTurn, recordingUser } from './connection-user.ts';
import { manualClock } from '../../lib/manual-clock.ts';
import { dialerForTest, tlsUpstream, upstream, type Upstream } from './upstream-for-test.ts';

const company = makeTestAuthority('Company CA');
const pinned = { 'api.example': '127.0.0.1', 'other.example': '127.0.0.1' };

interface Options {
  readonly most?: number;
  readonly keepAlive?: number;
  readonly dialer?: Dialer;
}

function connectionsFor({
  most = 4,
  keepAlive = 30_000,
  dialer = dialerForTest({ pinned, ca: company.cert }),
}: Options = {}) {
  const clock = manualClock();
  const connections = createConnections({
    dialer,
    limits: { upstream_connections: most, upstream_wait: 1_000, upstream_keep_alive: keepAlive },
    clock,
  });
  const request = (authority: ReturnType<typeof authorityOf>, fresh?: boolean, owner?: string) => {
    const user = recordingUser(owner);
    connections.request(authority, user, fresh);
    return user;
  };
  return { clock, connections, request };
}

async function echoing(): Promise<Upstream & { readonly sockets: Socket[] }> {
  const sockets: Socket[] = [];
  const server = await upstream((socket) => {
    sockets.push(socket);
    echo(socket);
  });
  onTestFinished(() => server[Symbol.asyncDispose]());
  return { ...server, sockets };
}

const plain = ({ port }: { readonly port: number }, host = 'api.example') =>
  authorityOf(`${host}:${port}`, 'http');

/** No server listens at the first address. */
const lookup = () =>
  Promise.resolve([
    { address: '127.0.0.2', family: 4 },
    { address: '127.0.0.1', family: 4 },
  ]);

describe('HTTP/1.1 connections to an upstream', () => {
  it('are reused, the last used first', async () => {
    const server = await echoing();
    const { request } = connectionsFor();
    const users = [request(plain(server)), request(plain(server))];
    const [first, second] = await Promise.all(users.map((user, index) => ask(user, `${index}`)));
    first!.release(null);
    second!.release(null);
    await nextTurn();
    expect(await request(plain(server)).connection).toBe(second);
    expect(await request(plain(server)).connection).toBe(first);
    expect(server.accepted()).toBe(2);
  });

  it('become idle in the next turn of the event loop, not in the same one', async () => {
    const server = await echoing();
    const { request } = connectionsFor();
    const connection = await ask(request(plain(server)), 'a');
    connection.release(null);
    const next = request(plain(server));
    expect(next.told).toEqual([]);
    expect(await next.connection).toBe(connection);
    expect(server.accepted()).toBe(1);
  });

  it.each([
    { when: 'in the turn of the release', isWritten: true, accepted: 1 },
    { when: 'later', isWritten: false, accepted: 2 },
  ])('of which Node reports the write $when: two requests take $accepted', async (written) => {
    const server = await echoing();
    const usual = dialerForTest({ pinned, ca: company.cert });
    const done: (() => void)[] = [];
    const dialer: Dialer = {
      ...usual,
      async connect(peer, options) {
        const socket = await usual.connect(peer, options);
        /* oxlint-disable no-underscore-dangle -- the name that Node gives it */
        const write = socket._write.bind(socket);
        socket._write = (chunk, encoding, report) =>
          write(chunk, encoding, (error) => void done.push(() => report(error)));
        /* oxlint-enable no-underscore-dangle */
        return socket;
      },
    };
    const { request } = connectionsFor({ dialer });
    const connection = await ask(request(plain(server)), 'a');
    connection.release(null);
    if (written.isWritten) for (const report of done) report();
    await nextTurn();
    await ask(request(plain(server)), 'b');
    expect(server.accepted()).toBe(written.accepted);
  });

  it('are reused only for the same scheme, host and port', async () => {
    const server = await echoing();
    const other = await echoing();
    const { request } = connectionsFor();
    (await ask(request(plain(server)), 'a')).release(null);
    await nextTurn();
    await ask(request(plain(server, 'other.example')), 'b');
    await ask(request(plain(other)), 'c');
    expect([server.accepted(), other.accepted()]).toEqual([2, 1]);
  });

  it('never exceed the limit, even if the only idle connection is not fresh enough', async () => {
    const server = await echoing();
    const { request, connections } = connectionsFor({ most: 1 });
    const stale = await ask(request(plain(server)), 'a');
    stale.release(null);
    await nextTurn();
    const fresh = request(plain(server), true);
    const next = request(plain(server));
    const connection = await ask(fresh, 'b');
    expect(connection).not.toBe(stale);
    connection.release(null);
    expect(await next.connection).toBe(connection);
    expect(server.accepted()).toBe(2);
    connection.release(null);
    await nextTurn();
    await connections.close();
    await closed(server.sockets[1]!);
  });

  it('deliver bytes over TLS as over TCP, even after a pause', async () => {
    await using server = await tlsUpstream(company.issue(['api.example']), echo);
    const { request } = connectionsFor();
    const authority = authorityOf(`api.example:${server.port}`);
    const first = request(authority);
    const connection = await ask(first, 'a');
    connection.pause();
    connection.release(null);
    const second = request(authority);
    expect(await second.connection).toBe(connection);
    await ask(second, 'b');
    expect(first.told).toEqual(['connected', 'echo a']);
    expect(server.accepted()).toBe(1);
    connection.destroy();
  });

  it('are made to the next address if one does not answer, over TLS too', async () => {
    await using server = await tlsUpstream(company.issue(['api.example']), echo);
    const { request } = connectionsFor({ dialer: dialerForTest({ lookup, ca: company.cert }) });
    const user = request(authorityOf(`api.example:${server.port}`));
    (await ask(user, 'a')).destroy();
  });

  it('are not reused after the upstream closed them while idle', async () => {
    const server = await echoing();
    const { request } = connectionsFor();
    const connection = await ask(request(plain(server)), 'a');
    connection.release(null);
    await nextTurn();
    server.sockets[0]!.end();
    await closed(server.sockets[0]!);
    await nextTurn();
    expect(await ask(request(plain(server)), 'b')).not.toBe(connection);
  });

  it('are idle no longer than the limit, and a second less than the keep-alive time-out of the upstream', async () => {
    const server = await echoing();
    const { request, clock } = connectionsFor({ keepAlive: 10_000 });
    const users = [request(plain(server)), request(plain(server)), request(plain(server))];
    const [long, short, none] = await Promise.all(users.map((user, index) => ask(user, `${index}`)));
    long!.release(60_000);
    short!.release(5_000);
    none!.release(1_000);
    await nextTurn();
    await Promise.race(server.sockets.map(closed));
    expect(server.sockets.filter((socket) => !socket.closed)).toHaveLength(2);
    clock.advance(4_000);
    const again = await request(plain(server)).connection;
    expect(again).toBe(long);
    again.release(null);
    await nextTurn();
    clock.advance(10_000);
    await Promise.all(server.sockets.map(closed));
    expect(clock.timers()).toBe(0);
  });

  it('are not kept with a keep-alive limit of zero', async () => {
    const server = await echoing();
    const { request } = connectionsFor({ keepAlive: 0 });
    (await ask(request(plain(server)), 'a')).release(null);
    await closed(server.sockets[0]!);
  });

  it('are not reused while idle after one turned out to be dead', async () => {
    const server = await echoing();
    const { request } = connectionsFor({ most: 1 });
    const connection = await ask(request(plain(server)), 'a');
    connection.release(null);
    await nextTurn();
    expect(await ask(request(plain(server), true), 'b')).not.toBe(connection);
    await closed(server.sockets[0]!);
  });

  it('report end, loss and deadline to their user, and nothing after destroy', async () => {
    const server = await echoing();
    const { request, clock } = connectionsFor();
    const user = request(plain(server));
    const connection = await ask(user, 'a');
    connection.deadline(100);
    clock.advance(100);
    server.sockets[0]!.end();
    await user.until('ended');
    connection.destroy();
    const lost = request(plain(server));
    await ask(lost, 'b');
    server.sockets[1]!.resetAndDestroy();
    await lost.until('lost');
    expect(user.told).toEqual(['connected', 'echo a', 'expired', 'ended']);
    expect(lost.told.at(-1)).toContain('ECONNRESET');
  });

  it('close when their user throws, and report the loss to the user', async () => {
    const server = await echoing();
    const { connections } = connectionsFor();
    const user = recordingUser();
    connections.request(plain(server), {
      ...user,
      received() {
        throw new Error('no idea what to do with it');
      },
    });
    (await user.connection).write(Buffer.from('a'));
    await user.until('lost no idea');
    await closed(server.sockets[0]!);
  });
});

/** A dialer whose sockets do nothing; what comes on them is handed to `onread` by the test. */
function silentDialer() {
  const made: { readonly socket: Socket; readonly says: (text: string) => void }[] = [];
  const dialer: Dialer = {
    connect(_authority, { onread } = {}) {
      const socket = new Socket();
      made.push({
        socket,
        says: (text) => void onread!.callback((onread!.buffer as Buffer).write(text), emptyBytes),
      });
      return Promise.resolve(socket);
    },
    connectBlind: () => Promise.reject(new Error('not asked for')),
  };
  return { dialer, made };
}
const emptyBytes = new Uint8Array();

describe('bytes on a connection without a user', () => {
  it('in the turn of its release close it, and do not reach the next user', async () => {
    const { dialer, made } = silentDialer();
    const { request } = connectionsFor({ most: 1, dialer });
    const first = request(authorityOf('api.example'));
    const connection = await first.connection;
    const second = request(authorityOf('api.example'));
    made[0]!.says('an answer');
    connection.release(null);
    // Another TLS record of the same packet, with what waits done in between.
    await Promise.resolve();
    made[0]!.says('another answer');
    expect(await second.connection).not.toBe(connection);
    expect(made.map(({ socket }) => socket.destroyed)).toEqual([true, false]);
    expect(first.told).toEqual(['connected', 'an answer']);
    expect(second.told).toEqual(['connected']);
  });

  it('close it while it is idle', async () => {
    const { dialer, made } = silentDialer();
    const { request } = connectionsFor({ dialer });
    const connection = await request(authorityOf('api.example')).connection;
    connection.release(null);
    await nextTurn();
    made[0]!.says('an answer');
    expect(made[0]!.socket.destroyed).toBe(true);
    expect(await request(authorityOf('api.example')).connection).not.toBe(connection);
  });

  it('close it before its first use, and the user gets an error', async () => {
    const { dialer, made } = silentDialer();
    const { request } = connectionsFor({
      dialer: {
        ...dialer,
        async connect(authority, options) {
          const socket = await dialer.connect(authority, options);
          made[0]!.says('220 ready');
          return socket;
        },
      },
    });
    const user = request(authorityOf('api.example'));
    await expect(user.connection).rejects.toMatchObject({ code: 'upstream_protocol' });
    expect(made[0]!.socket.destroyed).toBe(true);
  });

  it('are awaited one turn longer after a pause', async () => {
    const { dialer } = silentDialer();
    const { request } = connectionsFor({ dialer });
    const connection = await request(authorityOf('api.example')).connection;
    connection.pause();
    connection.release(null);
    const next = request(authorityOf('api.example'));
    await new Promise((resolve) => setImmediate(resolve));
    expect(next.told).toEqual([]);
    expect(await next.connection).toBe(connection);
  });
});

describe('a waiting user', () => {
  it('gets a released connection in order of arrival', async () => {
    const server = await echoing();
    const { request } = connectionsFor({ most: 1 });
    const connection = await ask(request(plain(server)), 'a');
    const [second, third] = [request(plain(server)), request(plain(server))];
    connection.release(null);
    expect(await second.connection).toBe(connection);
    expect(third.told).toEqual([]);
    connection.release(null);
    expect(await third.connection).toBe(connection);
    expect(server.accepted()).toBe(1);
  });

  it('gets a new connection after a used connection is destroyed', async () => {
    const server = await echoing();
    const { request } = connectionsFor({ most: 1 });
    const connection = await ask(request(plain(server)), 'a');
    const second = request(plain(server));
    connection.destroy();
    await ask(second, 'b');
    expect(server.accepted()).toBe(2);
  });

  it('is refused after the time that it may wait', async () => {
    const server = await echoing();
    const { request, clock } = connectionsFor({ most: 1 });
    const connection = await ask(request(plain(server)), 'a');
    const early = request(plain(server));
    clock.advance(600);
    const late = request(plain(server));
    clock.advance(399);
    expect(early.told).toEqual([]);
    clock.advance(1);
    await expect(early.connection).rejects.toMatchObject({
      code: 'overloaded',
      message: expect.stringMatching(/^All 1 connections to .*api\.example:\d+ are in use\.$/),
      hint: 'try again, or raise limits.upstream_connections',
    });
    connection.release(null);
    expect(await late.connection).toBe(connection);
  });

  it('is not refused while its connection is being opened', async () => {
    const server = await echoing();
    const dialed = Promise.withResolvers<void>();
    const real = dialerForTest({ pinned });
    const dialer: Dialer = {
      ...real,
      connect: async (authority, onread) => {
        await dialed.promise;
        return real.connect(authority, onread);
      },
    };
    const { request, clock } = connectionsFor({ most: 1, dialer });
    const [covered, over] = [request(plain(server)), request(plain(server))];
    clock.advance(5_000);
    expect(over.told).toEqual(['unconnected overloaded']);
    dialed.resolve();
    await ask(covered, 'a');
  });

  it('leaves the queue', async () => {
    const server = await echoing();
    const { request, connections } = connectionsFor({ most: 1 });
    const connection = await ask(request(plain(server)), 'a');
    const [left, next] = [request(plain(server)), request(plain(server))];
    connections.leave(plain(server), left);
    connection.release(null);
    expect(await next.connection).toBe(connection);
    expect(left.told).toEqual([]);
  });

  it('gets no new connection if it leaves in the turn in which a connection is destroyed', async () => {
    const { dialer, made } = silentDialer();
    const { request, connections } = connectionsFor({ most: 1, dialer });
    const connection = await request(authorityOf('api.example')).connection;
    const second = request(authorityOf('api.example'));
    connection.destroy();
    await Promise.resolve();
    connections.leave(authorityOf('api.example'), second);
    await nextTurn();
    expect(made).toHaveLength(1);
    await connections.close();
  });

  it('gets the error of the dialer, and the next user gets a separate attempt', async () => {
    const refused = new SidekeyError('address_blocked', 'Not there.');
    let dials = 0;
    const { request } = connectionsFor({
      most: 1,
      dialer: {
        connect: () => Promise.reject(((dials += 1), refused)),
        connectBlind: () => Promise.reject(refused),
      },
    });
    const users = [request(authorityOf('api.example')), request(authorityOf('api.example'))];
    for (const user of users) await expect(user.connection).rejects.toBe(refused);
    expect(dials).toBe(2);
  });
});

describe('close', () => {
  it('closes idle connections, and lets exchanges in flight end', async () => {
    const server = await echoing();
    const { request, connections } = connectionsFor({ most: 2 });
    const users = [request(plain(server)), request(plain(server))];
    const [busy, idle] = await Promise.all(users.map((user, index) => ask(user, `${index}`)));
    idle!.release(null);
    await nextTurn();
    let done = false;
    const closing = connections.close().then(() => (done = true));
    await Promise.race(server.sockets.map(closed));
    await nextTurn();
    expect(done).toBe(false);
    busy!.release(null);
    await closing;
    await Promise.all(server.sockets.map(closed));
  });

  it('resolves at once without connections', async () => {
    await connectionsFor().connections.close();
  });
});

describe('an adopted connection', () => {
  it('is never used after it sent data', async () => {
    const sockets: Socket[] = [];
    const server = await upstream((socket) => {
      sockets.push(socket);
      if (sockets.length === 1) socket.write('unasked');
      echo(socket);
    });
    onTestFinished(() => server[Symbol.asyncDispose]());
    const { connections, request } = connectionsFor();
    const made = new Socket().connect(server.port, '127.0.0.1');
    await once(made, 'readable');
    connections.adopt(plain(server), made);
    const user = request(plain(server));
    await ask(user, 'hello');
    expect(user.told).toEqual(['connected', 'echo hello']);
    expect(made.destroyed).toBe(true);
  });
});

describe('a connection that one owner used', () => {
  it('serves no other owner', async () => {
    const server = await echoing();
    const { request } = connectionsFor();
    const first = await ask(request(plain(server), false, 'a'), 'x');
    first.release(null);
    await nextTurn();
    const other = await ask(request(plain(server), false, 'b'), 'y');
    expect(other).not.toBe(first);
    expect(await request(plain(server), false, 'a').connection).toBe(first);
  });

  it('closes for another owner if the pool is full', async () => {
    const server = await echoing();
    const { request } = connectionsFor({ most: 1 });
    (await ask(request(plain(server), false, 'a'), 'x')).release(null);
    await nextTurn();
    await ask(request(plain(server), false, 'b'), 'y');
    await closed(server.sockets[0]!);
    expect(server.accepted()).toBe(2);
  });

  it('closes at its release if a request of another owner waits longer than those of its owner', async () => {
    const server = await echoing();
    const { request } = connectionsFor({ most: 1 });
    const first = await ask(request(plain(server), false, 'a'), 'x');
    const other = request(plain(server), false, 'b');
    const own = request(plain(server), false, 'a');
    first.release(null);
    const second = await ask(other, 'y');
    expect(second).not.toBe(first);
    expect(own.told).toEqual([]);
    second.release(null);
    await ask(own, 'z');
    expect(server.accepted()).toBe(3);
  });
});
