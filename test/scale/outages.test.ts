import { describe, expect, test } from 'vitest';
import { holdTokens, pause, serves, startFleet } from './fleet.ts';
import { scaleMissing } from './network.ts';

/** Seconds of an outage; `SIDEKEY_SCALE_OUTAGE=600 npm run scale` is the full one. */
const outageS = Number(process.env['SIDEKEY_SCALE_OUTAGE'] ?? 12);

const served = (answers: readonly object[]) =>
  answers.filter((it) => 'status' in it && it.status === 200).length;

describe.skipIf(scaleMissing !== null)(`three nodes and their database${scaleMissing ?? ''}`, () => {
  test(
    `serve cached tokens while the database is down for ${outageS} s, refresh once it returns, and lose no grant`,
    async () => {
      const { nodes, databases, connect, endTokens, expectWhole, provider } = await startFleet();
      const grants = ['g0', 'g1', 'g2', 'g3'];
      await connect(...grants);
      for (const node of nodes) for (const grant of grants) await serves(node, grant);
      await databases.standby.kill();
      await databases.primary.kill();
      for (const until = Date.now() + outageS * 1_000; Date.now() < until; await pause(500)) {
        const answers = await Promise.all(nodes.flatMap((node) => grants.map((grant) => node.get(grant))));
        expect(served(answers)).toBe(answers.length);
      }
      await databases.primary.start();
      await databases.standby.start();
      await endTokens();
      for (const grant of grants) await Promise.all(nodes.map((node) => serves(node, grant)));
      expect(provider.uses).toHaveLength(grants.length);
      await expectWhole();
    },
    120_000 + outageS * 1_000,
  );

  test('need no config change if the database fails over to its replica during refreshes', async () => {
    const fleet = await startFleet();
    const { nodes, databases, provider, connect, endTokens, expectWhole } = fleet;
    const grants = Array.from({ length: 12 }, (_, index) => `g${index}`);
    await connect(...grants);
    await endTokens();
    const { asked, release } = holdTokens(fleet);
    const calls = grants.map((grant, index) => nodes[index % 3]!.get(grant));
    await asked;
    await databases.primary.kill();
    // Their answers come while there is no database.
    release();
    await pause(500);
    await databases.standby.query('select pg_promote()');
    for (const grant of grants) await Promise.all(nodes.map((node) => serves(node, grant)));
    await Promise.all(calls);
    expect(provider.uses).toHaveLength(grants.length);
    await expectWhole();
  }, 120_000);

  test('keep working while one node is cut off from the database, which serves cached tokens and refreshes nothing until it recovers', async () => {
    const { nodes, connect, endTokens, expectWhole, provider } = await startFleet();
    const [first, ...rest] = nodes;
    await connect('kept', 'ended');
    for (const node of nodes) for (const grant of ['kept', 'ended']) await serves(node, grant);
    first.cut('database');
    await endTokens(0, ['ended']);
    for (const node of rest) expect(await node.get('ended')).toMatchObject({ status: 200 });
    expect(await first.get('kept')).toMatchObject({ status: 200 });
    // The API refuses its token, and it may not get another one.
    expect(await first.get('ended')).not.toMatchObject({ status: 200 });
    first.mend('database');
    await serves(first, 'ended');
    expect(provider.uses).toHaveLength(1);
    await expectWhole();
  }, 120_000);
});
