/** What a yes is kept for: it must not grow when a rule before its own changes. */
import { expect, test } from 'vitest';
import { parseConfig } from '../../../src/config/load.ts';
import { decideRequest } from '../../../src/policy/decide.ts';
import { createDomainMap } from '../../../src/policy/domain-map.ts';
import { factsOf } from '../../support/request-facts.ts';

/** What a yes to `DELETE /x` is kept for, and the counters of the rule that asks. */
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
  ['one goes', `rules: [${shut}, ${open}, ${asks}]`, `rules: [${open}, ${asks}]`],
  ['one comes', `rules: [${asks}]`, `rules: [${shut}, ${asks}]`],
  ['two change places', `rules: [${shut}, ${open}, ${asks}]`, `rules: [${open}, ${shut}, ${asks}]`],
  ['one no longer refuses what it cannot tell', `rules: [${limited}, ${asks}]`, `rules: [${open}, ${asks}]`],
])(
  'a yes to a rule is asked for anew where of those before it %s; its counters go on',
  async (_, then, now) => {
    const [before, after] = [await keyWith(then), await keyWith(now)];
    expect(after.approval).not.toBe(before.approval);
    expect(after.counters).toEqual(before.counters);
    expect(after.counters).toHaveLength(1);
  },
);

test('a yes to the default is asked for anew where a rule goes', async () => {
  const before = await keyWith(`default: approve, rules: [${open}, ${shut}]`);
  const after = await keyWith(`default: approve, rules: [${open}]`);
  expect(after.approval).not.toBe(before.approval);
});

test('a yes to a rule stays where one behind it changes, or one before it is renamed', async () => {
  const before = await keyWith(`rules: [${shut}, ${asks}]`);
  const renamed = '{ name: shut, paths: [/admin/**], outcome: deny }';
  expect(await keyWith(`rules: [${shut}, ${asks}, ${open}]`)).toEqual(before);
  expect(await keyWith(`rules: [${renamed}, ${asks}]`)).toEqual(before);
});

test('a yes to a rule is for its domain', async () => {
  const rules = `rules: [${asks}]`;
  expect((await keyWith(rules)).approval).not.toBe((await keyWith(rules, 'b.example.com')).approval);
});
