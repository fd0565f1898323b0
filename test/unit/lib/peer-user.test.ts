import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { peerOwner, peerUser, userIn } from '../../../src/lib/os.ts';

const list = [
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode',
  '   0: 0100007F:20B9 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1 0000000000000000 100 0',
  '   1: 0100007F:20B9 0100007F:C351 01 00000000:00000000 00:00000000 00000000  1000        0 12 1 0000000000000000 20 4',
  '   2: 0100007F:C351 0100007F:20B9 01 00000000:00000000 00:00000000 00000000 65534        0 13 1 0000000000000000 20 4',
  '   3: 0200007F:C352 0100007F:20B9 01 00000000:00000000 00:00000000 00000000  1000        0 14 1 0000000000000000 20 4',
  '   4: 0100007F:C352 0100007F:0050 01 00000000:00000000 00:00000000 00000000  1000        0 15 1 0000000000000000 20 4',
  // FIN_WAIT2 of a socket without a process.
  '   5: 0100007F:C354 0100007F:20B9 05 00000000:00000000 03:00001741 00000000     0        0 0 3 0000000000000000',
  '',
].join('\n');

test.each([
  ['by both ends', '0100007F:C351', '0100007F:20B9', 65_534],
  ['by the address of the caller', '0200007F:C352', '0100007F:20B9', 1_000],
  ['not with another remote port', '0100007F:C352', '0100007F:20B9', null],
  ['not with another remote address', '0100007F:C351', '0200007F:20B9', null],
  ['not with another local port', '0100007F:C353', '0100007F:20B9', null],
  [
    'not if its process has closed it, although the kernel then writes the user 0',
    '0100007F:C354',
    '0100007F:20B9',
    null,
  ],
])('a connection is matched with the list of the kernel: %s', (_how, local, remote, user) => {
  expect(userIn(list, [local, remote])).toBe(user);
});

test.skipIf(process.platform !== 'linux' && 'only Linux lists connections').each([
  ['IPv4', '127.0.0.1'],
  // Like Java: an IPv6 socket that connects to an IPv4 address.
  ['IPv4, from a socket of IPv6', '::ffff:127.0.0.1'],
  ['IPv6', '::1'],
])(
  'a connection of this process over %s belongs to its user, and a closed connection to no user',
  async (_name, host) => {
    const server = createServer().listen(0, '::');
    onTestFinished(() => void server.close());
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const client = connect(port, host);
    const [accepted] = (await once(server, 'connection')) as [Socket];
    onTestFinished(() => void accepted.destroy());
    const { remoteAddress, remotePort, localAddress } = accepted;
    const ends = { remoteAddress, remotePort, localAddress, localPort: port };
    expect(await peerUser(ends)).toBe(process.getuid?.());
    expect(await peerOwner(ends)).toBe('own');
    expect(await peerOwner({ ...ends, localAddress: '127.0.0.2' })).toBe('unknown');
    const closed = new Promise((resolve) => accepted.on('error', () => {}).once('close', resolve));
    client.resetAndDestroy();
    await closed;
    expect(await peerOwner(ends)).toBe('unknown');
  },
);
