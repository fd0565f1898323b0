import { describe, expect, test } from 'vitest';
import type { Identity } from '../../../src/agents/authentication.ts';
import type { InboundRequest } from '../../../src/proxy/http/message.ts';
import { factsOf, labelsOf, readFacts } from '../../../src/proxy/authorize.ts';
import { planOf } from '../../../src/proxy/plan.ts';
import type { BodyFacts } from '../../../src/proxy/policy/body.ts';
import type { GrantCandidates } from '../../../src/proxy/target.ts';
import { defaultLimits } from '../../../src/proxy/policy/limits.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { authorityOf } from './policy/policy-for-test.ts';

const arrivalOf = (fields: readonly string[], body = ''): InboundRequest => ({
  head: { method: 'POST', target: '/', version: '1.1', fields },
  body:
    body === ''
      ? null
      : (async function* () {
          yield Buffer.from(body);
        })(),
  client: { address: '127.0.0.1:4711', loopback: true, owner: () => 'own' as const, tunnel: null },
});
const callerOf = (agentUser: string | null, claimed: string | null): Identity => ({
  agent: 'robot',
  agentUser,
  labels: ['of-agent'],
  lease: null,
  subject: null,
  selectors: { grant: null, user: claimed },
  reaches: () => true,
  placeOf: () => 0 as const,
  scope: null,
  labelsNow: async () => ['of-agent'],
  egressNow: () => [],
  grantLabels: async () => ['of-grant'],
  spend: async () => null,
  holds: async () => Infinity,
});
const offerOf = (user: string | null, ruled = true): GrantCandidates => {
  const grant = grantRecord({ user: user ?? 'nobody' });
  const selected: GrantCandidates['selected'] =
    user === null ? { kind: 'missing' } : { kind: 'selected', grant };
  return { reference: 'github', candidates: [grant], selected, ruled };
};
const receivedOf = (inbound: InboundRequest) => {
  const plan = planOf(inbound.client);
  return {
    inbound,
    plan,
    fieldFacts: plan.facts(inbound.head, defaultLimits, { find: () => [] }),
    target: { authority: authorityOf('api.example.com'), path: '/' },
    body: inbound.body,
    bodyFacts: null as BodyFacts | null,
    provider: undefined,
    services: { now: () => 0 },
  };
};
const factsFor = async (caller: Identity, offer: GrantCandidates | null, fields: readonly string[] = []) => {
  const request = { ...receivedOf(arrivalOf(fields)), caller, candidates: offer };
  return factsOf(request, await labelsOf(caller, offer));
};

describe('the user in rule conditions', () => {
  test.each<[grant: string | null, agent: string | null, claimed: string | null, user: string | null]>([
    ['bob', null, null, 'bob'],
    ['bob', 'alice', null, 'bob'],
    ['bob', 'alice', 'bob', 'bob'],
    ['default', 'alice', null, 'alice'],
    ['default', null, null, null],
    [null, 'alice', 'bob', 'alice'],
    [null, null, 'bob', null],
  ])('of the grant of %j, an agent for %j, and the claim %j is %j', async (grant, agent, claimed, user) => {
    expect((await factsFor(callerOf(agent, claimed), offerOf(grant))).user).toBe(user);
  });

  test('is the user of the agent if no grant matches', async () => {
    expect((await factsFor(callerOf('alice', 'bob'), null)).user).toBe('alice');
  });
});

test('the content type is read from a single field, and absent with two fields', async () => {
  const one = ['Content-Type', 'application/json'];
  const two = [...one, 'content-type', 'text/plain'];
  for (const [fields, type] of [
    [one, 'application/json'],
    [two, null],
    [[], null],
  ] as const) {
    expect((await factsFor(callerOf(null, null), null, fields)).contentType).toBe(type);
    const received = receivedOf(arrivalOf(fields, '{"query":"{a}"}'));
    await readFacts(received, 100);
    expect(received.bodyFacts?.graphql).toEqual(type === null ? null : [{ type: 'query', name: '' }]);
  }
});
