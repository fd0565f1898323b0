import { describe, expect, it, vi } from 'vitest';
import { isAddress, parseConnectTarget } from '../../src/proxy/policy/authority.ts';
import { dialerForTest, upstream } from '../unit/proxy/upstream/upstream-for-test.ts';

const local = '127.0.0.1';
const asResolved = (...addresses: string[]) =>
  vi.fn((_host: string) =>
    Promise.resolve(addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))),
  );

describe('server-side request forgery', () => {
  it.each([
    '127.0.0.1',
    '127.0.0.1.',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[0:0:0:0:0:FFFF:7F00:0001]',
    '[64:ff9b::127.0.0.1]',
    '[64:ff9b::7f00:1]',
    '[64:ff9b:1::7f00:1]',
    '[2002:7f00:1::]',
    '[2001:0:7f00:1::]',
    '[2001:0:4136:e378:8000:63bf:80ff:fffe]',
    '[::127.0.0.1]',
    '[::ffff:0:127.0.0.1]',
    '[::1]',
    '[::]',
    '0.0.0.0',
    '169.254.169.254',
    '[::ffff:169.254.169.254]',
    '[fd00:ec2::254]',
    '100.100.100.200',
    '168.63.129.16',
    '10.0.0.1',
    '[fe80::1]',
    '255.255.255.255',
  ])('the address %s is blocked, and no connection reaches it', async (host) => {
    await using server = await upstream();
    const target = parseConnectTarget(`${host}:${server.port}`)!;
    expect(isAddress(target.host)).toBe(true);
    await expect(dialerForTest({ permitted: [] }).connectBlind(target)).rejects.toMatchObject({
      code: 'address_blocked',
      status: 403,
    });
    expect(server.accepted()).toBe(0);
  });

  it.each([
    '2130706433',
    '0x7f000001',
    '0x7f.0x0.0x0.0x1',
    '017700000001',
    '0177.0.0.1',
    '0177.0.0.01',
    '127.1',
    '127.0.1',
    '127.0.0.1..',
    '１２７.0.0.1',
    '①②⑦.0.0.1',
    '127\u30020\u30020\u30021',
    '127。0。0。1',
    '[::1%lo]',
    '[::1%25lo]',
    '[127.0.0.1]',
    '127.0.0.1%00.example.com',
    '127.0.0.1\0.example.com',
    '',
    '.',
  ])('%j, which some parsers read as a local address, is not a valid authority', (host) => {
    expect(parseConnectTarget(`${host}:80`)).toBeNull();
  });

  it.each([
    '127.0.0.1',
    '::1',
    '::ffff:127.0.0.1',
    '64:ff9b::7f00:1',
    '169.254.169.254',
    'fe80::1%lo',
    '0.0.0.0',
    '',
  ])('a name that resolves to %j is blocked, and no connection reaches the address', async (address) => {
    await using server = await upstream();
    const dialer = dialerForTest({ permitted: [], lookup: asResolved(address) });
    await expect(
      dialer.connect(parseConnectTarget(`innocent.example:${server.port}`)!),
    ).rejects.toMatchObject({
      code: 'address_blocked',
    });
    expect(server.accepted()).toBe(0);
  });

  it('only permitted addresses of a name are dialed, even if a forbidden address comes first', async () => {
    await using hidden = await upstream(() => {}, '127.0.0.2');
    const lookup = asResolved('127.0.0.2', '::ffff:127.0.0.2', local);
    const dialer = dialerForTest({ permitted: [local], lookup });
    await expect(
      dialer.connectBlind(parseConnectTarget(`innocent.example:${hidden.port}`)!),
    ).rejects.toMatchObject({
      code: 'upstream_unreachable',
    });
    expect(hidden.accepted()).toBe(0);
  });

  it('a name that answers differently the second time (DNS rebinding) is dialed at the address that was checked', async () => {
    await using checked = await upstream();
    const lookup = asResolved('10.255.255.1').mockResolvedValueOnce([{ address: local, family: 4 }]);
    const dialer = dialerForTest({ permitted: [local], lookup });
    const target = parseConnectTarget(`rebinding.example:${checked.port}`)!;
    const socket = await dialer.connectBlind(target);
    expect(socket.remoteAddress).toBe(local);
    socket.destroy();
    expect(lookup).toHaveBeenCalledOnce();
    await expect(dialer.connectBlind(target)).rejects.toMatchObject({ code: 'address_blocked' });
    expect(checked.accepted()).toBe(1);
  });

  it('a name with several addresses is resolved once', async () => {
    await using checked = await upstream();
    const lookup = asResolved(local, local);
    const dialer = dialerForTest({ permitted: [local], lookup });
    // A name that no system resolves: the connection can only have used the addresses that were checked.
    const socket = await dialer.connectBlind(parseConnectTarget(`rebinding.invalid:${checked.port}`)!);
    expect(socket.remoteAddress).toBe(local);
    socket.destroy();
  });

  it('a pinned address is checked like any other', async () => {
    await using server = await upstream();
    const dialer = dialerForTest({ permitted: [], pinned: { 'pinned.example': local } });
    await expect(
      dialer.connectBlind(parseConnectTarget(`pinned.example:${server.port}`)!),
    ).rejects.toMatchObject({
      code: 'address_blocked',
    });
    expect(server.accepted()).toBe(0);
  });
});
