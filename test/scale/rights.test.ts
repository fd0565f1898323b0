import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { openTunnel } from '../support/raw-client.ts';
import { type Node, pause, startFleet } from './fleet.ts';
import { scaleMissing } from './network.ts';
import { apiHost } from './provider.ts';

/** Milliseconds until a request in an open tunnel of the node is refused. */
async function refusedAfter(
  node: Node,
  authority: string,
  token: string,
  begun: Promise<number>,
): Promise<number> {
  const { hostname: host, port } = new URL(node.running().url);
  const caPem = readFileSync(node.running().caFile, 'utf8');
  const fields = [`Proxy-Authorization: Bearer ${token}`];
  const tunnel = await openTunnel({ host, port: Number(port), caPem }, authority, {
    fields,
    servername: apiHost,
  });
  const ask = async () => {
    tunnel.send(`GET /items HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
    return (await tunnel.response()).status;
  };
  expect(await ask()).toBe(200);
  const since = await begun;
  while ((await ask()) === 200) {
    if (Date.now() - since > 5_000) break;
    await pause(20);
  }
  return Date.now() - since;
}

describe.skipIf(scaleMissing !== null)(`three nodes with one PostgreSQL${scaleMissing ?? ''}`, () => {
  test.each([
    ['a lease', ['lease', 'revoke']],
    ['an agent', ['agent', 'set', '--disable']],
  ])(
    'refuse %s within a second after it was ended, inside open tunnels',
    async (_name, command) => {
      const fleet = await startFleet();
      await fleet.connect('acme');
      const isLease = command[0] === 'lease';
      const token = isLease ? await fleet.lease() : fleet.token;
      const begun = Promise.withResolvers<number>();
      const all = fleet.nodes.map((node) =>
        refusedAfter(node, fleet.provider.authority, token, begun.promise),
      );
      // Each tunnel has had its first answer.
      await pause(1_000);
      begun.resolve(Date.now());
      const [lease] = (await fleet.at.json(['lease', 'list'])) as { id: string }[];
      const { exit, stderr } = await fleet.at.run([...command, isLease ? lease!.id : 'robot']);
      expect([exit, stderr]).toEqual([0, expect.any(String)]);
      const times = await Promise.all(all);
      expect(times.filter((ms) => ms > 1_000)).toEqual([]);
    },
    60_000,
  );

  test.each([
    ['the same', []],
    ['five minutes ahead and behind', [-300_000, 300_000]],
    ['five minutes behind and ahead', [300_000, -300_000]],
  ])(
    'answer on one node the approval of a request to another node, with clocks that are %s',
    async (_name, skewsMs) => {
      const fleet = await startFleet({
        skewsMs,
        domain: { default: 'allow', rules: [{ name: 'asked', paths: ['/asked'], outcome: 'approve' }] },
      });
      const [first, second] = fleet.nodes;
      await fleet.connect('acme');
      const answer = first.get('acme', '/asked');
      const waiting = async () =>
        (JSON.parse(await second.command(['approve', '--list', '--json'])) as { waiting: { id: string }[] })
          .waiting;
      await expect.poll(async () => (await waiting()).length, { timeout: 20_000 }).toBe(1);
      const [{ id } = { id: '' }] = await waiting();
      await second.command(['approve', id]);
      expect(await answer).toMatchObject({ status: 200 });
      await fleet.expectWhole();
    },
    60_000,
  );
});
