import { describe, expect, it, vi } from 'vitest';
import type { SidekeyError } from '../../../../src/lib/errors.ts';
import { createAddressGuard, parseCidr } from '../../../../src/proxy/policy/authority.ts';
import { createResolver, type ResolverOptions } from '../../../../src/proxy/upstream/resolve.ts';

const guard = createAddressGuard([parseCidr('10.1.2.0/24')!]);
const answering =
  (...addresses: string[]): NonNullable<ResolverOptions['lookup']> =>
  () =>
    Promise.resolve(addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })));

function resolverOf(lookup: NonNullable<ResolverOptions['lookup']>, pinned: Record<string, string> = {}) {
  return createResolver({ guard, pinned: new Map(Object.entries(pinned)), lookup });
}

describe('the resolver', () => {
  it('returns all public addresses of a name in their order', async () => {
    const resolve = resolverOf(answering('2606:4700::1111', '1.1.1.1'));
    expect(await resolve('example.com')).toEqual([
      { address: '2606:4700::1111', family: 6 },
      { address: '1.1.1.1', family: 4 },
    ]);
  });

  it('omits addresses that are neither public nor listed', async () => {
    const resolve = resolverOf(
      answering('127.0.0.1', '10.1.2.3', '169.254.169.254', '1.1.1.1', 'fe80::1%lo'),
    );
    expect((await resolve('example.com')).map(({ address }) => address)).toEqual(['10.1.2.3', '1.1.1.1']);
  });

  it('returns an IPv4-mapped address as the IPv4 address', async () => {
    expect(await resolverOf(answering('::ffff:a01:203'))('example.com')).toEqual([
      { address: '10.1.2.3', family: 4 },
    ]);
    expect(await resolverOf(answering())('[::ffff:a01:203]')).toEqual([{ address: '10.1.2.3', family: 4 }]);
  });

  it('refuses a name without an allowed address, and names the config key that allows it', async () => {
    await expect(resolverOf(answering('10.0.0.1'))('intranet.example')).rejects.toMatchObject({
      code: 'address_blocked',
      message: 'intranet.example resolves to 10.0.0.1, which is not a public address and is not listed.',
      hint: 'add 10.0.0.1 to upstream.private_addresses if Sidekey may reach it',
    });
  });

  it('checks a literal address without the name service', async () => {
    const lookup = vi.fn(answering('1.1.1.1'));
    const resolve = resolverOf(lookup);
    expect(await resolve('10.1.2.3')).toEqual([{ address: '10.1.2.3', family: 4 }]);
    expect(await resolve('[2606:4700::1111]')).toEqual([{ address: '2606:4700::1111', family: 6 }]);
    await expect(resolve('127.0.0.1')).rejects.toMatchObject({
      code: 'address_blocked',
      message: '127.0.0.1 is not a public address and is not listed.',
    });
    await expect(resolve('[::1]')).rejects.toMatchObject({ code: 'address_blocked' });
    expect(lookup).not.toHaveBeenCalled();
  });

  it('checks a pinned address, and uses it instead of the name service', async () => {
    const lookup = vi.fn(answering('1.1.1.1'));
    const resolve = resolverOf(lookup, { 'a.example': '10.1.2.3', 'b.example': '10.9.9.9' });
    expect(await resolve('a.example')).toEqual([{ address: '10.1.2.3', family: 4 }]);
    await expect(resolve('b.example')).rejects.toMatchObject({ code: 'address_blocked' });
    expect(lookup).not.toHaveBeenCalled();
  });

  it('reports a name that does not resolve or has no address', async () => {
    const cause = Object.assign(new Error('getaddrinfo ENOTFOUND'), { code: 'ENOTFOUND' });
    await expect(resolverOf(() => Promise.reject(cause))('no.example')).rejects.toMatchObject({
      code: 'upstream_unreachable',
      message: 'The name no.example cannot be resolved.',
      cause,
    });
    await expect(resolverOf(answering())('no.example')).rejects.toMatchObject({
      code: 'upstream_unreachable',
    });
  });

  it.each([
    ['10.9.9.9', /^add 10\.9\.9\.9 to upstream\.private_addresses/],
    ['100.100.1.2', /^add 100\.100\.1\.2 to /],
    ['198.17.255.255', null],
    ['198.18.0.21', /stand-in addresses.* add 198\.18\.0\.0\/15/],
    ['198.19.255.254', /stand-in addresses/],
    ['198.20.0.1', null],
    ['fc00::15', /stand-in addresses.* add fc00::\/18 to/],
    ['fd00::15', /^add fd00::15 to /],
    ['0.0.0.0', /hosts file, blocks the name/],
    ['::', /hosts file, blocks the name/],
    ['127.0.0.1', /^add 127\.0\.0\.1 to /],
  ])('names what helps where a name resolves to %s', async (address, hint) => {
    const resolved = resolverOf(answering(address))('api.example').then(
      () => null,
      (error: SidekeyError) => error.hint,
    );
    const shown = await resolved;
    if (hint === null) expect(shown).toBeNull();
    else expect(shown).toMatch(hint);
  });

  it('takes a stand-in address in the URL or in upstream.resolve as it is', async () => {
    const hint = 'add 198.18.0.21 to upstream.private_addresses if Sidekey may reach it';
    const resolve = resolverOf(answering('1.1.1.1'), { 'a.example': '198.18.0.21' });
    await expect(resolve('198.18.0.21')).rejects.toMatchObject({ hint });
    await expect(resolve('a.example')).rejects.toMatchObject({ hint });
  });

  it('blocks an answer of the name service that is not an address', async () => {
    await expect(resolverOf(answering('2130706433'))('a.example')).rejects.toMatchObject({
      code: 'address_blocked',
    });
  });
});
