/** The key of a standing approval: a change of an earlier rule must not widen the approval. */
import { expect, test } from 'vitest';
import { parseConfig } from '../../../src/config/load.ts';
import { decideRequest } from '../../../src/proxy/policy/decide.ts';
import { createDomainMap } from '../../../src/proxy/policy/domain-map.ts';
import { factsOf } from '../../support/request-facts.ts';

/** The approval key of `DELETE /x`, and the counters of the rule with outcome approve. */
async function keyWith(domain: string, host = 'api.example.com') {
  const text = `version: 1\ndomains:\n  ${host}: { grant: acme, ${domain} }\n`;
  const config = await parseConfig(text, '/x/sidekey.yaml', { env: {}, cwd: '/x' });
  const policy = { domains: createDomainMap(config.domains), unmatched: 'deny' } as const;
  const decision = decideRequest(policy, factsOf(`https://${host}/x`, { method: 'DELETE' }));
  if (decision.outcome !== 'approve') throw new Error(decision.reason);
  return { approval: decision.approvalKey, counters: decision.limits.map(({ key }) => key) };
}

const asks = '{ methods: [DELETE], outcome: approve, limits: [{ rate: 1/s }] }';
const [shut, open] = ['{ paths: [/admin/**], outcome: deny }', '{ paths: [/open], outcome: allow }'];
const limited = '{ paths: [/open], outcome: allow, limits: [{ rate: 1/s }] }';

test.each([
  ['one is removed', `rules: [${shut}, ${open}, ${asks}]`, `rules: [${open}, ${asks}]`],
  ['one is added', `rules: [${asks}]`, `rules: [${shut}, ${asks}]`],
  ['two are swapped', `rules: [${shut}, ${open}, ${asks}]`, `rules: [${open}, ${shut}, ${asks}]`],
  ['one loses its limits', `rules: [${limited}, ${asks}]`, `rules: [${open}, ${asks}]`],
])(
  'the key of a standing approval changes when among the earlier rules %s, and the counters stay',
  async (_, then, now) => {
    const [before, after] = [await keyWith(then), await keyWith(now)];
    expect(after.approval).not.toBe(before.approval);
    expect(after.counters).toEqual(before.counters);
    expect(after.counters).toHaveLength(1);
  },
);

test('the key of a standing approval for the default outcome changes when a rule is removed', async () => {
  const before = await keyWith(`default: approve, rules: [${open}, ${shut}]`);
  const after = await keyWith(`default: approve, rules: [${open}]`);
  expect(after.approval).not.toBe(before.approval);
});

test('the key of a standing approval stays when a later rule changes, or an earlier rule is renamed', async () => {
  const before = await keyWith(`rules: [${shut}, ${asks}]`);
  const renamed = '{ name: shut, paths: [/admin/**], outcome: deny }';
  expect(await keyWith(`rules: [${shut}, ${asks}, ${open}]`)).toEqual(before);
  expect(await keyWith(`rules: [${renamed}, ${asks}]`)).toEqual(before);
});

test('the key of a standing approval differs between domains', async () => {
  const rules = `rules: [${asks}]`;
  expect((await keyWith(rules)).approval).not.toBe((await keyWith(rules, 'b.example.com')).approval);
});
