import { describe, expect, test } from 'vitest';
import { type Fleet, type Node, pause, startFleet } from './fleet.ts';
import { scaleMissing } from './network.ts';

const rounds = Number(process.env['SIDEKEY_SCALE_ROUNDS'] ?? 3);
/** Seconds for which a node is stopped; `SIDEKEY_SCALE_STOP=60 npm run scale` is the full time. */
const stoppedS = Number(process.env['SIDEKEY_SCALE_STOP'] ?? 20);

const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(Math.random() * items.length)]!;

/** Lets each node call each of the grants, at random times within half a second. */
async function callAll({ nodes }: Fleet, grants: readonly string[]) {
  return Promise.all(
    nodes.flatMap((node) =>
      grants.map(async (grant) => {
        await pause(Math.random() * 500);
        return { node, grant, answer: await node.get(grant) };
      }),
    ),
  );
}

describe.skipIf(scaleMissing !== null)(`three nodes${scaleMissing ?? ''}`, () => {
  test(
    `and their database that are killed at random in ${rounds} rounds lose only grants whose new tokens died with a node`,
    async () => {
      const fleet = await startFleet({ config: { limits: { refresh_timeout: '3s' } } });
      const { nodes, databases, provider, connect, expectWhole } = fleet;
      const grants = Array.from({ length: 8 }, (_, index) => `g${index}`);
      await connect(...grants);
      let lost = 0;
      for (let round = 0; round < rounds; round += 1) {
        const [uses, reuses] = [provider.uses.length, provider.reuses.length];
        const [victim, withDatabase] = [pick(nodes), round % 2 === 1];
        await fleet.endTokens();
        const calls = callAll(fleet, grants);
        await pause(Math.random() * 700);
        await Promise.all([victim.kill(), withDatabase ? databases.primary.kill() : null]);
        const answers = await calls;
        await pause(Math.random() * 2_000);
        if (withDatabase) await databases.primary.start();
        await victim.start();
        if (!withDatabase) {
          const failed = answers.filter(
            ({ node, grant, answer }) =>
              node !== victim && !('status' in answer && (answer.status === 200 || usedBy(victim, grant))),
          );
          expect(failed).toEqual([]);
        }
        // What the victim was told and could not store is gone for everybody: the next use of the old token
        // says so.
        const settled = await Promise.all(
          grants.map(async (grant) => [grant, await settles(nodes[0], grant)] as const),
        );
        const gone = settled.filter(([, status]) => status === 424).map(([grant]) => grant);
        expect(gone.filter((grant) => !usedBy(victim, grant))).toEqual([]);
        expect(
          provider.reuses
            .slice(reuses)
            .map(({ person }) => person)
            .filter((grant) => !gone.includes(grant)),
        ).toEqual([]);
        lost += gone.length;
        for (const grant of gone) await fleet.reconnect(grant);

        function usedBy({ address }: Node, grant: string): boolean {
          return provider.uses.slice(uses).some(({ person, from }) => person === grant && from === address);
        }
      }
      await expectWhole({ reuses: provider.reuses.length });
      console.log(
        JSON.stringify({
          rounds,
          grants: grants.length,
          uses: provider.uses.length,
          lostWithTheirNode: lost,
        }),
      );
    },
    60_000 + rounds * 60_000,
  );

  test.each([
    ['on machines of their own', false, stoppedS],
    // Their lock is free after two seconds, long before the end of the token request.
    ['on one machine', true, 6],
  ])(
    'use the refresh token once if one of them is stopped while it connects to the provider, %s',
    async (_name, isSameMachine, seconds) => {
      const refreshTimeout = isSameMachine ? '10s' : '3s';
      const fleet = await startFleet({
        isSameMachine,
        config: { limits: { refresh_timeout: refreshTimeout } },
      });
      const [first, second] = fleet.nodes;
      await fleet.connect('acme');
      await fleet.endTokens();
      const stopped = new Promise<void>((resolve) => {
        fleet.provider.onConnection = (from) => {
          if (from !== first.address) return;
          first.signal('SIGSTOP');
          resolve();
        };
      });
      const late = first.get('acme');
      await stopped;
      fleet.provider.onConnection = () => {};
      expect(fleet.provider.uses).toHaveLength(0);
      const since = Date.now();
      await expect.poll(() => second.get('acme'), { timeout: 30_000 }).toMatchObject({ status: 200 });
      await pause(since + seconds * 1_000 - Date.now());
      first.signal('SIGCONT');
      // Its caller may have waited for too long; the next one gets the token of the other node.
      await late;
      await expect.poll(() => first.get('acme'), { timeout: 10_000 }).toMatchObject({ status: 200 });
      expect(fleet.provider.uses.map(({ from }) => from)).toEqual([second.address]);
      await fleet.expectWhole();
    },
    60_000 + stoppedS * 1_000,
  );

  test(
    'whose clocks differ by five minutes each way refresh with one token request and without failed calls',
    async () => {
      const fleet = await startFleet({ skewsMs: [300_000, -300_000] });
      await fleet.connect('acme');
      for (let round = 1; round <= rounds; round += 1) {
        // A node that still has the old token gets a 401, after which a grant is refreshed once in ten
        // seconds.
        if (round > 1) await pause(10_000);
        await fleet.endTokens();
        const answers = await callAll(
          fleet,
          Array.from({ length: 20 }, () => 'acme'),
        );
        expect(answers.filter(({ answer }) => !('status' in answer) || answer.status !== 200)).toEqual([]);
        expect(fleet.provider.uses).toHaveLength(round);
      }
      await fleet.expectWhole();
    },
    60_000 + rounds * 20_000,
  );
});

/** Resolves to 200 or 424, when the node has one of them as its last word. */
async function settles(node: Node, grant: string): Promise<number> {
  let status = 0;
  await expect
    .poll(
      async () => {
        const answer = await node.get(grant);
        status = 'status' in answer ? answer.status : 0;
        return [200, 424].includes(status);
      },
      { timeout: 40_000, interval: 200 },
    )
    .toBe(true);
  return status;
}
