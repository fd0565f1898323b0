import { describe, expect, test } from 'vitest';
import type { EgressLists } from '../../../src/agents/egress.ts';
import { parseConfig } from '../../../src/config/load.ts';
import type { Policy } from '../../../src/proxy/policy/decide.ts';
import { createDomainMap } from '../../../src/proxy/policy/domain-map.ts';
import { requestRefusal, type RequestPermission } from '../../../src/proxy/revalidate.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { factsOf } from '../../support/request-facts.ts';
import { policyOf } from './policy/policy-for-test.ts';

const start = Date.UTC(2027, 0, 1);
const grant = grantRecord({ name: 'work', provider: 'acme' });
const offering = (name: string) =>
  policyOf({ 'a.example': { kind: 'grant', grant: name, allowPlainHttp: false } });
const tunnels = policyOf({ 'a.example': { kind: 'tunnel' } });

/** An allowed request with labels that the test removes. */
function letIn(
  right: Partial<RequestPermission> = {},
  of: { agent?: string[]; grant?: string[]; egressNow?: () => EgressLists } = {},
) {
  const labels = { agent: of.agent ?? [], grant: of.grant ?? [] };
  const held: RequestPermission = {
    caller: {
      agent: 'robot',
      lease: null,
      egressNow: of.egressNow ?? (() => []),
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

test('a policy that selects another grant ends the permission for the used grant', async () => {
  const { refusal } = letIn();
  for (const name of [grant.id, 'work', 'acme']) expect(await refusal(offering(name))).toBe(null);
  expect(await refusal(offering('other'))).toMatchObject({ code: 'rule_denied' });
  expect(await refusal(tunnels)).toMatchObject({ code: 'rule_denied' });
  expect(await refusal(policyOf({}))).toMatchObject({ code: 'domain_not_allowed' });
});

test('a grant that moves to another place of the domain entry loses its permission', async () => {
  const app = grantRecord({ id: 'g-app', name: 'app', provider: 'app' });
  const both = await ruled('also: [{ grant: app, as: { header: X-Api-Key } }]');
  const { refusal } = letIn({ also: [app] });
  expect(await refusal(both)).toBe(null);
  expect(await refusal(await ruled('default: allow'))).toMatchObject({ code: 'rule_denied' });
  expect(await letIn({ grant: app }).refusal(both)).toMatchObject({ code: 'rule_denied' });
  expect(await letIn({ also: [grant] }).refusal(both)).toMatchObject({ code: 'rule_denied' });
});

test('a host that is removed from the list of the caller ends an exchange without a credential', async () => {
  const hosts = { egressNow: () => [[]] };
  expect(await letIn({ grant: null }).refusal(tunnels)).toBe(null);
  expect(await letIn({ grant: null }, hosts).refusal(tunnels)).toMatchObject({ code: 'domain_not_allowed' });
  expect(await letIn({}, hosts).refusal(offering('work'))).toBe(null);
});

describe('when the rule requires approval now', async () => {
  const asks = await ruled('default: approve');

  test('an exchange that started without approval is cut', async () => {
    expect(await letIn().refusal(asks)).toMatchObject({ code: 'approval_missing' });
  });

  test('an exchange with a one-time approval continues', async () => {
    expect(await letIn({ approval: { id: 'one', standing: false } }).refusal(asks)).toBe(null);
  });

  test('an exchange under a standing approval continues while that is valid', async () => {
    const { stand, refusal } = letIn({ approval: { id: 'one', standing: true } });
    stand.add('one');
    expect(await refusal(asks)).toBe(null);
    stand.delete('one');
    stand.add('other');
    expect(await refusal(asks)).toMatchObject({ code: 'approval_missing' });
    expect(await refusal(await ruled('default: allow'))).toBe(null);
  });

  test('an approval does not permit a grant that is no longer selected', async () => {
    const text = await ruled('default: approve');
    const { refusal } = letIn({
      approval: { id: 'one', standing: false },
      grant: grantRecord({ provider: 'github' }),
    });
    expect(await refusal(text)).toMatchObject({ code: 'rule_denied' });
  });
});

describe('under a rule with label conditions', async () => {
  const labelled = await ruled('rules: [{ labels: [trusted], outcome: allow }]');

  test.each(['agent', 'grant'] as const)(
    'an open connection is cut when the %s loses the label',
    async (whose) => {
      const { labels, refusal } = letIn({}, { [whose]: ['trusted'] });
      expect(await refusal(labelled)).toBe(null);
      labels[whose] = [];
      expect(await refusal(labelled)).toMatchObject({ code: 'rule_denied' });
    },
  );

  test('an exchange without a credential keeps the labels of its selected grant', async () => {
    const policy = await ruled('rules: [{ labels: [of-grant], outcome: tunnel }]');
    const { labels, refusal } = letIn(
      { grant: null, facts: factsOf('https://a.example/', { labels: ['of-agent', 'of-grant'] }) },
      { agent: ['of-agent'] },
    );
    labels.agent = [];
    expect(await refusal(policy)).toBe(null);
  });
});
