import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { isOwnUser, peerUser, userIn } from '../../../src/lib/os.ts';

const list = [
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode',
  '   0: 0100007F:20B9 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1 0000000000000000 100 0',
  '   1: 0100007F:20B9 0100007F:C351 01 00000000:00000000 00:00000000 00000000  1000        0 12 1 0000000000000000 20 4',
  '   2: 0100007F:C351 0100007F:20B9 01 00000000:00000000 00:00000000 00000000 65534        0 13 1 0000000000000000 20 4',
  '   3: 0200007F:C352 0100007F:20B9 01 00000000:00000000 00:00000000 00000000  1000        0 14 1 0000000000000000 20 4',
  '   4: 0100007F:C352 0100007F:0050 01 00000000:00000000 00:00000000 00000000  1000        0 15 1 0000000000000000 20 4',
  '',
].join('\n');

test('a connection is matched by both endpoints, and only by the line of the peer', () => {
  expect(userIn(list, { local: '0100007F:C351', remotePort: '20B9' })).toBe(65_534);
  expect(userIn(list, { local: '0200007F:C352', remotePort: '20B9' })).toBe(1_000);
});

test('a connection with another endpoint does not match', () => {
  expect(userIn(list, { local: '0100007F:C352', remotePort: '20B9' })).toBe(null);
  expect(userIn(list, { local: '0100007F:C353', remotePort: '20B9' })).toBe(null);
});

test.skipIf(process.platform !== 'linux' && 'the system lists connections on Linux alone').each([
  ['IPv4', '127.0.0.1'],
  // As Java does: a socket of IPv6 that calls an IPv4 address.
  ['IPv4, from a socket of IPv6', '::ffff:127.0.0.1'],
])(
  'a connection of this process over %s belongs to its user, and a closed one to no user',
  async (_name, host) => {
    const server = createServer().listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const client = connect(port, host);
    const [accepted] = (await once(server, 'connection')) as [Socket];
    onTestFinished(() => void accepted.destroy());
    const { remoteAddress, remotePort, localPort } = accepted;
    const ends = { remoteAddress, remotePort, localPort };
    expect(peerUser(ends)).toBe(process.getuid?.());
    expect(isOwnUser(ends)).toBe(true);
    const closed = new Promise((resolve) => accepted.on('error', () => {}).once('close', resolve));
    client.resetAndDestroy();
    await closed;
    expect(isOwnUser(ends)).toBe(false);
  },
);
