import { createHmac } from 'node:crypto';
import { expect, it } from 'vitest';
import { hashToken, readPresented } from '../../src/agents/authentication.ts';
import { createAgentAuthenticator } from '../../src/agents/authenticator.ts';
import type { Placement } from '../../src/domain/provider.ts';
import type { Client, InboundRequest, Reply } from '../../src/proxy/http/message.ts';
import { SidekeyError } from '../../src/lib/errors.ts';
import { createPlaceholderCodes } from '../../src/proxy/placeholders/codes.ts';
import { createDomainMap, type LeakGuard } from '../../src/proxy/policy/domain-map.ts';
import { defaultLimits } from '../../src/proxy/policy/limits.ts';
import { type DomainRules, noConditions } from '../../src/proxy/policy/rule.ts';
import { parseGlob } from '../../src/proxy/policy/text.ts';
import { requestSection } from '../../src/proxy/forward-h1.ts';
import { authorize, receive } from '../../src/proxy/authorize.ts';
import { applyCredential, countUse, obtainCredential } from '../../src/proxy/credential.ts';
import { ExchangeRecord } from '../../src/proxy/record.ts';
import type { ConfigSnapshot, ProxyServices } from '../../src/proxy/services.ts';
import { prepare } from '../../src/proxy/prepare.ts';
import { Request } from '../../src/proxy/request.ts';
import { createPathRedactor, placementAt } from '../../src/proxy/schemes/placement.ts';
import * as fc from '../support/fast-check.ts';
import { aProvider } from '../support/provider.ts';
import { rule, ruleOf, rulesOf } from '../support/random-policies.ts';
import { addAgent, leaseRecord } from '../support/rights.ts';
import { processesForTest, start } from '../unit/grants/processes.ts';
import { authorityOf, domainOf } from '../unit/proxy/policy/policy-for-test.ts';
import { hintText } from '../../src/lib/hint.ts';

const minute = 60_000;
const hosts = ['api.example.com', 'other.example.com'] as const;
const basic = (user: string) => ['Proxy-Authorization', `Basic ${btoa(user)}`];

/**
 * Field sections as clients send them, without their `Host`. Each is one array, as the head reader gives it.
 */
const sections = [
  [],
  ['Accept', '*/*'],
  ['Accept', '*/*', 'Authorization', 'Bearer own', 'X-Key', 'own'],
  ['Sidekey-Grant', 'two'],
  ['Sidekey-Grant', 'none'],
  ['Sidekey-Reason', 'because'],
  ['X-HTTP-Method-Override', 'DELETE'],
  ['Connection', 'x-private', 'X-Private', '1'],
  ['Content-Type', 'application/json', 'Content-Length', '20'],
  ['Upgrade', 'websocket', 'Connection', 'upgrade'],
];
const allFields = hosts.map((host) => sections.map((section) => ['Host', host, ...section]));

const placements: readonly Placement[] = [
  { kind: 'bearer' },
  { kind: 'header', name: 'X-Key', template: '{token}' },
  { kind: 'query', name: 'key' },
];

/** Rules that look at the labels of the grant. */
const labelled = rulesOf([ruleOf({ ...noConditions, labels: [parseGlob('prod')] }, 'allow')], 'deny');

/** The settings of the config that edits change. */
interface Settings {
  readonly reference: string;
  readonly rules: DomainRules | null;
  readonly leakGuard: LeakGuard;
  readonly placement: number;
  readonly authentication: 'required' | 'optional';
  readonly maxFields: number;
  readonly allowPlainHttp: boolean;
}

/** An edit changes one setting. */
const edit: fc.Arbitrary<Partial<Settings>> = fc.oneof(
  fc.record({ reference: fc.constantFrom('acme', 'one', 'two') }),
  fc.record({
    rules: fc
      .tuple(
        fc.array(rule, { maxLength: 3 }),
        fc.constantFrom('allow' as const, 'allow' as const, 'deny' as const, 'tunnel' as const),
        fc.constantFrom('enforce' as const, 'report' as const),
      )
      .map((parts) => rulesOf(...parts)),
  }),
  fc.constantFrom({ rules: null }, { rules: labelled }),
  fc.record({ leakGuard: fc.constantFrom<LeakGuard>('auto', 'redact', 'off') }),
  fc.record({ placement: fc.nat(placements.length - 1) }),
  fc.record({ authentication: fc.constantFrom('optional' as const, 'required' as const) }),
  fc.record({ maxFields: fc.constantFrom(100, 2) }),
  fc.record({ allowPlainHttp: fc.boolean() }),
);

type Step =
  | { readonly do: 'request'; readonly tunnel: number; readonly section: number; readonly target: string }
  | { readonly do: 'edit'; readonly to: Partial<Settings> }
  | { readonly do: 'change'; readonly what: number };

const request: fc.Arbitrary<Step> = fc.record({
  do: fc.constant('request' as const),
  tunnel: fc.oneof(fc.nat(1), fc.nat(6)),
  section: fc.oneof(fc.constant(1), fc.nat(sections.length - 1)),
  target: fc.constantFrom(
    'GET /a/b',
    'GET /a/b',
    'GET /a/b?q=1',
    'POST /a/b',
    'GET /echo',
    'GET /%2e%2e/a',
    'TRACE /',
  ),
});
const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    { arbitrary: request, weight: 4 },
    { arbitrary: fc.record({ do: fc.constant('edit' as const), to: edit }), weight: 2 },
    { arbitrary: fc.record({ do: fc.constant('change' as const), what: fc.nat(11) }), weight: 2 },
  ),
  { minLength: 60, maxLength: 90 },
);

/**
 * A proxy up to the write to the upstream, with a real store, and the changes that people and other processes
 * make.
 */
async function setup() {
  const processes = await processesForTest();
  const { time } = processes;
  const codes = createPlaceholderCodes((text) => createHmac('sha256', 'key').update(text).digest('hex'));
  const here = await processes.process();
  const { store, registry, source } = here;
  const add = (name: string, user: string, value: string) =>
    registry.add(
      { name, user, provider: 'acme', scopes: [] },
      { credential: { type: 'api_key', value }, audience: ['api.example.com'] },
    );
  const grant = await add('one', 'default', 'secret-of-one-0123456789');
  let other = await add('two', 'alice', 'secret-of-two-0123456789');
  await addAgent(store, 'ci-bot', 'one', { labels: ['prod'] });
  await addAgent(store, 'bob', 'two', { user: 'alice', bindings: [{ kind: 'grant', value: other.id }] });
  const lease = leaseRecord({
    agent: 'ci-bot',
    tokenHash: hashToken('leased'),
    grants: [grant.id],
    createdAt: start,
    expiresAt: start + 10 * minute,
  });
  await store.leases.insert(lease);
  let edited: Settings = {
    reference: 'acme',
    rules: null,
    leakGuard: 'auto',
    placement: 0,
    authentication: 'optional',
    maxFields: 100,
    allowPlainHttp: false,
  };
  let config = snapshot();

  function snapshot(): ConfigSnapshot {
    const { reference, rules, leakGuard, placement, authentication, maxFields, allowPlainHttp } = edited;
    const provider = aProvider({
      audience: ['api.example.com'],
      inject: [{ hosts: null, paths: null, as: placements[placement]! }],
      echoPaths: ['/echo'],
    });
    const domain = {
      ...domainOf('api.example.com', { kind: 'grant', grant: reference, allowPlainHttp, leakGuard }),
      ...(rules === null ? {} : { rules }),
    };
    const providerOf = (name: string) => (name === 'acme' ? provider : undefined);
    return {
      policy: { domains: createDomainMap([domain]), unmatched: 'deny' },
      agents: authentication,
      limits: { ...defaultLimits, head_fields: maxFields },
      provider: providerOf,
      hasMints: () => false,
      placementFor: (_name, to) => placementAt(provider.inject, to),
      redactPath: createPathRedactor({ names: ['acme'], get: providerOf }),
    } as Partial<ConfigSnapshot> as ConfigSnapshot;
  }

  const services = {
    agents: createAgentAuthenticator({
      store,
      grants: { current: (id) => store.grants.get(id) },
      now: time.now,
      uses: { used() {} },
    }),
    proposals: { policyFor: () => null },
    grants: registry,
    tokens: source,
    placeholders: codes,
    audit: { note() {} },
    leakLimit: { refusal: () => null },
    nonces: { of: () => null },
    certificates: { watch() {} },
    now: time.now,
  } as unknown as ProxyServices;

  const changes: readonly (() => Promise<unknown>)[] = [
    () => store.agents.change('ci-bot', { disabledAt: time.now() }),
    () => store.agents.change('ci-bot', { disabledAt: null, labels: ['prod'] }),
    () => store.agents.change('ci-bot', { labels: ['other'] }),
    () => store.agentTokens.revoke('bob', null, time.now()),
    () => store.leases.revoke({ id: lease.id }, time.now()),
    () => store.bindings.remove('bob', [{ kind: 'grant', value: other.id }]),
    () => store.bindings.add('bob', [{ kind: 'everything', value: '*' }], time.now()),
    () => store.grantPolicies.set(grant.id, { labels: ['prod', `${time.now()}`] }),
    () => store.grantPolicies.set(grant.id, { expiresAt: time.now() + 2 * minute }),
    async () => {
      const stored = await registry.read(grant.id);
      if (stored === null) return;
      const value = `secret-of-one-${time.now()}-0123456789`;
      await registry.replaceCredential(stored.grant, {
        ...stored.sealed,
        credential: { type: 'api_key', value },
      });
    },
    async () => {
      if (await registry.remove(other.id)) return;
      other = await add('two', 'alice', 'secret-of-two-again-0123456789');
    },
    () => time.advance(3 * minute),
  ];
  return {
    edit: (to: Partial<Settings>) => {
      edited = { ...edited, ...to };
      config = snapshot();
    },
    change: (what: number) => changes[what]!(),
    judge: (inbound: InboundRequest) => judge(inbound, config, services),
  };
}

/** Everything that a request leads to, up to the write to its upstream. */
async function judge(inbound: InboundRequest, config: ConfigSnapshot, services: ProxyServices) {
  const record = new ExchangeRecord(inbound, () => 0);
  const shown = () => ({ ...record.access(), exchange: '' });
  try {
    const reply = { continue() {} } as Reply;
    const request = new Request({ inbound, reply, services, record });
    request.config = config;
    receive(request);
    await authorize(request);
    await prepare(request);
    await obtainCredential(request);
    await countUse(request);
    const sent = applyCredential(request);
    const { decision, redactedPath, grant, caller, facts } = request;
    return {
      decision,
      redactedPath,
      facts,
      grant: grant?.id,
      caller: [caller.agent, caller.lease, caller.selectors],
      head: [sent.method, sent.path, requestSection(sent).toString('latin1')],
      leaks: [sent.leakGuard, sent.leakKey?.grant, sent.secrets?.texts, [...(sent.carriedIn ?? [])]],
      concealed: sent.conceal?.(['Location', sent.path]),
      framing: sent.framing,
      maxResponse: sent.maxResponse,
      audit: shown(),
    };
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    return { refused: [error.code, error.message, hintText(error.hint)], audit: shown() };
  }
}

/** A tunnel to a host, by the user and token of its CONNECT. */
function inside(user: string | null, host: number, scheme: 'http' | 'https' = 'https') {
  const presented = readPresented(user === null ? [] : basic(user));
  const tunnel = { authority: authorityOf(hosts[host]!, scheme), serverName: null, presented };
  return {
    client: { address: '127.0.0.1:4711', loopback: true, owner: () => 'own' as const, tunnel },
    host,
    user: null,
  };
}

/**
 * The tunnels of one run: an agent, its lease, another agent, a stranger, nobody, and requests outside a
 * tunnel.
 */
function tunnels(): readonly {
  readonly client: Client;
  readonly host: number;
  readonly user: string | null;
}[] {
  return [
    inside('ci-bot:one', 0),
    inside('ci-bot:leased', 0),
    inside('bob:two', 0),
    inside(null, 0),
    inside('ci-bot+grant=two:one', 1),
    inside('ci-bot:one', 0, 'http'),
    {
      client: { address: '[::1]:4711', loopback: true, owner: () => 'own' as const, tunnel: null },
      host: 0,
      user: 'bob:two',
    },
  ];
}

/** Another connection of the same client. */
function another({ tunnel, ...client }: Client): Client {
  return { ...client, tunnel: tunnel === null ? null : structuredClone(tunnel) };
}

it('a request gives the same result with the plan of its connection as without, whatever changes in between', async () => {
  const seen = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(steps, async (all) => {
      const { edit, change, judge: judged } = await setup();
      const open = tunnels();
      // One array for each user of a section: the head reader makes no other for the same bytes.
      const outside = allFields[0]!.map((fields) => [...fields, ...basic('bob:two')]);
      let last: Extract<Step, { readonly do: 'request' }> | null = null;
      for (const step of all) {
        if (step.do === 'edit') edit(step.to);
        else if (step.do === 'change') await change(step.what);
        else last = step;
        // After a change the same request comes again: all that could be used again is at hand.
        if (last === null) continue;
        const { client, host, user } = open[last.tunnel]!;
        const [method = '', path = ''] = last.target.split(' ');
        const target = client.tunnel === null ? `https://${hosts[host]!}${path}` : path;
        const fields = user === null ? allFields[host]![last.section]! : outside[last.section]!;
        const head = { method, target, version: '1.1' as const, fields };
        const planned = await judged({ head, body: null, client });
        const alone = await judged({
          head: { ...head, fields: [...fields] },
          body: null,
          client: another(client),
        });
        expect(planned).toEqual(alone);
        const outcome = 'refused' in planned ? planned.refused[0]! : planned.decision.outcome;
        seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
      }
    }),
    { numRuns: 20 },
  );
  for (const outcome of ['inject', 'tunnel', 'rule_denied', 'grant_missing', 'agent_auth_required'])
    expect(seen.get(outcome), outcome).toBeGreaterThan(0);
});
