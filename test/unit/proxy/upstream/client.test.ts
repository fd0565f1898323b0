import { afterEach, describe, expect, it } from 'vitest';
import type { SidekeyError } from '../../../../src/lib/errors.ts';
import { hintText } from '../../../../src/lib/hint.ts';
import { defaultLimits } from '../../../../src/proxy/policy/limits.ts';
import { createUpstreamClient, type UpstreamClient } from '../../../../src/proxy/upstream/client.ts';
import { makeTestAuthority } from '../../../support/certificates.ts';
import { authorityOf } from '../policy/policy-for-test.ts';
import { recordingUser } from './connection-user.ts';
import { tlsUpstream, upstream } from './upstream-for-test.ts';

const clients: UpstreamClient[] = [];
afterEach(() => Promise.all(clients.splice(0).map((client) => client.close())));

function clientWith(
  privateAddresses: readonly string[],
  ownPorts: readonly number[] = [],
  anchors: Partial<Parameters<typeof createUpstreamClient>[0]> = {},
): UpstreamClient {
  const client = createUpstreamClient({
    ca: [],
    resolve: new Map([['api.example', '127.0.0.1']]),
    privateAddresses,
    limits: defaultLimits,
    ownPorts: () => ownPorts,
    ...anchors,
  });
  clients.push(client);
  return client;
}

describe('the upstream client', () => {
  it('connects only to public and listed addresses', async () => {
    await using server = await upstream();
    const target = authorityOf(`api.example:${server.port}`);
    await expect(clientWith([]).dialer.connectBlind(target)).rejects.toMatchObject({
      code: 'address_blocked',
    });
    expect(server.accepted()).toBe(0);
    (await clientWith(['127.0.0.1']).dialer.connectBlind(target)).destroy();
  });

  it.each(['api.example', '127.0.0.1', '[::ffff:127.0.0.1]', '127.0.0.2', '0.0.0.0', '[::]', '[::1]'])(
    'never dials the proxy itself by the name %s, even if that name is listed',
    async (host) => {
      await using server = await upstream();
      const client = clientWith(['127.0.0.0/8', '0.0.0.0/8', '::/0'], [9, server.port]);
      await expect(client.dialer.connectBlind(authorityOf(`${host}:${server.port}`))).rejects.toMatchObject({
        code: 'address_blocked',
        message: expect.stringMatching(/this proxy itself/),
      });
      expect(server.accepted()).toBe(0);
    },
  );

  const authority = makeTestAuthority('trusted');
  const stranger = makeTestAuthority('stranger');
  const below = stranger.subordinate('below');
  const pinned = { ca: [authority.cert], hostCa: new Map([['api.example', authority.cert]]) };
  const leaf = stranger.issue(['api.example']);
  const ofBelow = below.issue(['api.example']);
  it.each([
    ['one certificate', leaf, pinned],
    ['a chain', { ...ofBelow, cert: `${ofBelow.cert}\n${below.cert}` }, pinned],
    ['a self-signed one', makeTestAuthority('own').issue(['api.example'], { commonName: 'own' }), pinned],
    ['an intermediate', ofBelow, { ca: [], hostCa: new Map([['api.example', below.cert]]) }],
  ])('names the only key with trust anchors of a host in the hint of %s', async (_what, server, anchors) => {
    await using there = await tlsUpstream(server);
    const connecting = clientWith(['127.0.0.1'], [], anchors).dialer.connect(
      authorityOf(`api.example:${there.port}`),
    );
    const hint = await connecting.then(
      () => '',
      (error: SidekeyError) => hintText(error.hint),
    );
    expect(hint).toContain('upstream.host_ca.api.example');
    expect(hint).not.toContain('upstream.ca');
  });

  it.each([
    [[], /^if .* to upstream\.ca \(for this host alone: upstream\.host_ca\)/],
    [[authority.cert], /^no certificate in upstream\.ca is of its issuer: /],
  ])('names upstream.ca for other hosts', async (ca, hint) => {
    await using there = await tlsUpstream(leaf);
    const client = clientWith(['127.0.0.1'], [], { ca, hostCa: new Map([['other.example', leaf.cert]]) });
    await expect(client.dialer.connect(authorityOf(`api.example:${there.port}`))).rejects.toMatchObject({
      hint: expect.stringMatching(hint),
    });
  });

  it('applies the address guard to fetch and connections', async () => {
    const { fetch, connections } = clientWith([]);
    await expect(fetch('https://127.0.0.1/token')).rejects.toMatchObject({
      cause: { code: 'address_blocked' },
    });
    const user = recordingUser();
    connections.request(authorityOf('127.0.0.1:9'), user);
    await expect(user.connection).rejects.toMatchObject({ code: 'address_blocked' });
  });
});
