import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { expect, it, onTestFinished } from 'vitest';
import { createAddressGuard, parseCidr } from '../../../../src/proxy/policy/authority.ts';
import { openDatagrams } from '../../../../src/proxy/upstream/client.ts';
import { createResolver, createRouter, type RouterOptions } from '../../../../src/proxy/upstream/resolve.ts';

const router = (blocks: readonly string[], options: Partial<RouterOptions> = {}) =>
  createRouter({
    resolve: createResolver({
      guard: createAddressGuard(blocks.map(parseCidr).filter((block) => block !== null)),
      pinned: new Map([['logs.acme.test', '127.0.0.1']]),
    }),
    isPinned: () => false,
    isSelf: () => false,
    proxy: null,
    exceptions: { hosts: [], blocks: [] },
    ...options,
  });

it('a datagram is sent to the checked address', async () => {
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  onTestFinished(() => void socket.close());
  await once(socket, 'listening');
  const got = once(socket, 'message');
  const datagrams = await openDatagrams(router(['127.0.0.1/32']), 'logs.acme.test', socket.address().port);
  onTestFinished(() => datagrams.close());
  await datagrams.send(Buffer.from('one'));
  expect(String((await got)[0])).toBe('one');
});

it('a datagram to an address that is not allowed is refused', async () => {
  await expect(openDatagrams(router([]), 'logs.acme.test', 514)).rejects.toMatchObject({
    code: 'address_blocked',
  });
  await expect(openDatagrams(router([]), '169.254.169.254', 514)).rejects.toMatchObject({
    code: 'address_blocked',
  });
});

it('a datagram that is too large for the system is rejected', async () => {
  const datagrams = await openDatagrams(router(['127.0.0.1/32']), '127.0.0.1', 9);
  onTestFinished(() => datagrams.close());
  await expect(datagrams.send(Buffer.alloc(70_000))).rejects.toMatchObject({ code: 'EMSGSIZE' });
});

it('a datagram is refused with a parent proxy, and sent directly to hosts of no_proxy', async () => {
  for (const remoteDns of [false, true]) {
    await expect(
      openDatagrams(router(['127.0.0.1/32'], { proxy: { remoteDns } }), 'logs.acme.test', 514),
    ).rejects.toMatchObject({
      code: 'upstream_unreachable',
      message: 'UDP to logs.acme.test cannot go through upstream.proxy.',
    });
  }
  const exceptions = { hosts: [], blocks: [parseCidr('127.0.0.0/8')!] };
  const listed = router(['127.0.0.1/32'], { proxy: { remoteDns: false }, exceptions });
  (await openDatagrams(listed, 'logs.acme.test', 514)).close();
});
