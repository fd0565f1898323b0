import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../../src/config/load.ts';
import type { Policy } from '../../../src/policy/decide.ts';
import { createDomainMap } from '../../../src/policy/domain-map.ts';
import { requestRefusal, type RequestPermission } from '../../../src/proxy/revalidate.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { factsOf } from '../../support/request-facts.ts';
import { policyOf } from '../policy/policy-for-test.ts';

const start = Date.UTC(2027, 0, 1);
const grant = grantRecord({ name: 'work', provider: 'acme' });
const offering = (name: string) =>
  policyOf({ 'a.example': { kind: 'grant', grant: name, allowPlainHttp: false } });
const tunnels = policyOf({ 'a.example': { kind: 'tunnel' } });

/** What was let in, with labels that the test takes away. */
function letIn(right: Partial<RequestPermission> = {}, of: { agent?: string[]; grant?: string[] } = {}) {
  const labels = { agent: of.agent ?? [], grant: of.grant ?? [] };
  const held: RequestPermission = {
    caller: {
      holds: async () => Infinity,
      labels: [...labels.agent],
      labelsNow: async () => labels.agent,
      grantLabels: async () => labels.grant,
    },
    grant,
    facts: factsOf('https://a.example/', { labels: [...labels.agent, ...labels.grant] }),
    ...right,
  };
  const stand = new Set<string>();
  const refusal = (policy: Policy) =>
    requestRefusal(policy, held, start, { stands: async (id) => stand.has(id) });
  return { labels, stand, refusal };
}

async function ruled(rules: string): Promise<Policy> {
  const text = `version: 1\ndomains:\n  a.example: { grant: acme, ${rules} }\n`;
  const config = await parseConfig(text, '/x/sidekey.yaml', { env: {}, cwd: '/x' });
  return { domains: createDomainMap(config.domains), unmatched: 'deny' };
}

test('a policy that offers another grant is no right to the one that was used', async () => {
  const { refusal } = letIn();
  for (const name of [grant.id, 'work', 'acme']) expect(await refusal(offering(name))).toBe(null);
  expect(await refusal(offering('other'))).toMatchObject({ code: 'rule_denied' });
  expect(await refusal(tunnels)).toMatchObject({ code: 'rule_denied' });
  expect(await refusal(policyOf({}))).toMatchObject({ code: 'domain_not_allowed' });
});

describe('where the rule wants a person now', async () => {
  const asks = await ruled('default: approve');

  test('what began without a question may not go on', async () => {
    expect(await letIn().refusal(asks)).toMatchObject({ code: 'approval_missing' });
  });

  test('what a yes for this once let in goes on', async () => {
    expect(await letIn({ approval: { id: 'one', standing: false } }).refusal(asks)).toBe(null);
  });

  test('what a yes that stands let in goes on for as long as that stands', async () => {
    const { stand, refusal } = letIn({ approval: { id: 'one', standing: true } });
    stand.add('one');
    expect(await refusal(asks)).toBe(null);
    stand.delete('one');
    stand.add('other');
    expect(await refusal(asks)).toMatchObject({ code: 'approval_missing' });
    expect(await refusal(await ruled('default: allow'))).toBe(null);
  });

  test('a yes is no right to a grant that is no longer offered', async () => {
    const text = await ruled('default: approve');
    const { refusal } = letIn({
      approval: { id: 'one', standing: false },
      grant: grantRecord({ provider: 'github' }),
    });
    expect(await refusal(text)).toMatchObject({ code: 'rule_denied' });
  });
});

describe('under a rule about labels', async () => {
  const labelled = await ruled('rules: [{ labels: [trusted], outcome: allow }]');

  test.each(['agent', 'grant'] as const)('what is open ends when the %s loses the label', async (whose) => {
    const { labels, refusal } = letIn({}, { [whose]: ['trusted'] });
    expect(await refusal(labelled)).toBe(null);
    labels[whose] = [];
    expect(await refusal(labelled)).toMatchObject({ code: 'rule_denied' });
  });

  test('what got no credential keeps the labels of the grant that was meant', async () => {
    const policy = await ruled('rules: [{ labels: [of-grant], outcome: tunnel }]');
    const { labels, refusal } = letIn(
      { grant: null, facts: factsOf('https://a.example/', { labels: ['of-agent', 'of-grant'] }) },
      { agent: ['of-agent'] },
    );
    labels.agent = [];
    expect(await refusal(policy)).toBe(null);
  });
});
