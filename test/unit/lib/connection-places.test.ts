import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { expect, test } from 'vitest';
import { ConnectionPlaces, endsOf } from '../../../src/lib/connection-places.ts';

let ports = 0;

/** A connection in the part that the places use. */
function connectionFrom(remoteAddress: string) {
  const events = new EventEmitter();
  const socket = Object.assign(events, {
    remoteAddress,
    remotePort: (ports += 1),
    localAddress: '192.0.2.1',
    localPort: 443,
    destroyed: false,
    destroy() {
      socket.destroyed = true;
      socket.emit('close');
    },
  });
  return socket as typeof socket & Socket;
}

function admitted(places: ConnectionPlaces, address: string, count: number) {
  return Array.from({ length: count }, () => {
    const connection = connectionFrom(address);
    expect(places.admit(connection)).toBe(true);
    return connection;
  });
}

const open = (connections: readonly Socket[]) => connections.map(({ destroyed }) => !destroyed);

test('a new connection replaces the oldest unauthenticated connection when all places are taken', () => {
  const places = new ConnectionPlaces(() => 3);
  const all = admitted(places, '127.0.0.1', 5);
  expect(open(all)).toEqual([false, false, true, true, true]);
});

test('an authenticated connection keeps its place, and a new connection is refused if all are authenticated', () => {
  const places = new ConnectionPlaces(() => 2);
  const all = admitted(places, '127.0.0.1', 2);
  places.authenticated(endsOf(all[0]!));
  admitted(places, '127.0.0.1', 3);
  expect(open(all)).toEqual([true, false]);
  for (const each of places) places.authenticated(endsOf(each));
  expect(places.admit(connectionFrom('127.0.0.1'))).toBe(false);
  all[0]?.destroy();
  expect(places.admit(connectionFrom('127.0.0.1'))).toBe(true);
});

test('a new connection from an address with a quarter of the places replaces only a connection of that address', () => {
  const places = new ConnectionPlaces(() => 8);
  const [operator] = admitted(places, '198.51.100.7', 1);
  const flood = admitted(places, '203.0.113.9', 100);
  expect(operator?.destroyed).toBe(false);
  expect(open(flood).filter(Boolean)).toHaveLength(7);
  const [other] = admitted(places, '198.51.100.8', 1);
  admitted(places, '203.0.113.9', 100);
  expect(other?.destroyed).toBe(false);
});

test('a maximum that is lowered applies to the next connection', () => {
  let max = 4;
  const places = new ConnectionPlaces(() => max);
  const all = admitted(places, '127.0.0.1', 4);
  max = 2;
  admitted(places, '127.0.0.1', 1);
  expect(open(all)).toEqual([false, true, true, true]);
});
