import { describe, expect, test } from 'vitest';
import { type Fleet, holdTokens, pause, serves, startFleet } from './fleet.ts';
import { scaleMissing } from './network.ts';

/**
 * Cuts the first node off from the provider when it has connected, before its TLS handshake; resolves then.
 */
function cutOnConnection({ nodes: [first], provider }: Fleet): Promise<void> {
  return new Promise((resolve) => {
    provider.onConnection = (from) => {
      if (from !== first.address) return;
      provider.onConnection = () => {};
      first.cut('provider');
      resolve();
    };
  });
}

describe.skipIf(scaleMissing !== null)(`a node that is cut off${scaleMissing ?? ''}`, () => {
  test('from the provider before it has sent its refresh releases the lock to the other nodes, and serves the token that they get', async () => {
    const fleet = await startFleet({ config: { limits: { refresh_timeout: '3s' } } });
    const { nodes, provider, connect, endTokens, expectWhole } = fleet;
    const [first, ...rest] = nodes;
    await connect('acme');
    await endTokens();
    const cut = cutOnConnection(fleet);
    const early = first.get('acme');
    await cut;
    const answers = await Promise.all([
      early,
      ...nodes.flatMap((node) => Array.from({ length: 20 }, () => node.get('acme'))),
    ]);
    // The end of the attempt is that of all who wait for it. Nobody waits longer, and nobody hears of
    // anything else.
    for (const answer of answers) {
      if ('status' in answer && answer.status === 200) continue;
      expect(answer).toMatchObject({ status: 502, body: expect.stringContaining('"refresh_failed"') });
    }
    await Promise.all(rest.map((node) => serves(node, 'acme')));
    await serves(first, 'acme');
    expect(provider.uses).toHaveLength(1);
    expect(rest.map(({ address }) => address)).toContain(provider.uses[0]?.from);
    first.mend('provider');
    await expectWhole();
  }, 120_000);

  test.each(['provider', 'database'] as const)(
    'from the %s while a token response is in transit loses no token, and no call fails',
    async (link) => {
      const fleet = await startFleet();
      const [first, ...rest] = fleet.nodes;
      await fleet.connect('acme');
      await fleet.endTokens();
      const { asked, release } = holdTokens(fleet);
      const late = first.get('acme');
      expect(await asked).toBe(first.address);
      first.cut(link);
      release();
      const others = Promise.all(rest.map((node) => node.get('acme')));
      await pause(3_000);
      first.mend(link);
      for (const answer of [await late, ...(await others)]) expect(answer).toMatchObject({ status: 200 });
      expect(fleet.provider.uses).toHaveLength(1);
      await fleet.expectWhole();
    },
    120_000,
  );
});
