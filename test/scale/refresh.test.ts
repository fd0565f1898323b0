/** `SIDEKEY_SCALE_ROUNDS=100 npm run scale` repeats the proof as often. */
import { describe, expect, test } from 'vitest';
import { startFleet } from './fleet.ts';
import { scaleMissing } from './network.ts';

const rounds = Number(process.env['SIDEKEY_SCALE_ROUNDS'] ?? 3);
const callersEach = 200;

describe.skipIf(scaleMissing !== null)(`three nodes with one PostgreSQL${scaleMissing ?? ''}`, () => {
  test(
    `refresh an expiring token under ${callersEach} callers each with one token request and without failed calls`,
    async () => {
      const { nodes, provider, connect, endTokens, expectWhole } = await startFleet({
        // A handshake for each request would be most of the work of this machine.
        config: { limits: { upstream_connections: 16 } },
      });
      await connect('acme');
      for (let round = 1; round <= rounds; round += 1) {
        // After a 401 a grant is refreshed for that reason once in ten seconds.
        if (round > 1) await new Promise((resolve) => setTimeout(resolve, 10_000));
        // Some callers still get the old token, some wait for the next one, some bring the old one too late.
        await endTokens(300);
        const calls = nodes.flatMap((node) =>
          Array.from({ length: callersEach }, async () => {
            await new Promise((resolve) => setTimeout(resolve, Math.random() * 600));
            return node.get('acme');
          }),
        );
        const answers = await Promise.all(calls);
        const failed = answers.filter((answer) => !('status' in answer) || answer.status !== 200);
        expect([round, failed.slice(0, 3)]).toEqual([round, []]);
        expect(answers).toHaveLength(3 * callersEach);
        expect(provider.uses).toHaveLength(round);
      }
      await expectWhole();
    },
    60_000 + rounds * 30_000,
  );
});
