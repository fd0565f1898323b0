import { expect, test } from 'vitest';
import type { InboundRequest, Reply } from '../../../src/proxy/http/message.ts';
import { createDomainMap } from '../../../src/proxy/policy/domain-map.ts';
import { defaultLimits } from '../../../src/proxy/policy/limits.ts';
import { exchange } from '../../../src/proxy/exchange.ts';
import type { ProxyServices } from '../../../src/proxy/services.ts';

test('no stage follows the stage that has answered a request', async () => {
  const called: string[] = [];
  const services = {
    config: () => ({
      policy: { domains: createDomainMap([]), unmatched: 'tunnel' },
      limits: defaultLimits,
      agents: 'any',
      redactPath: () => '/',
    }),
    agents: {
      identify: async () => {
        called.push('identify');
        return {
          agent: null,
          lease: null,
          labels: [],
          selectors: { grant: null, user: null },
          egressNow: () => [],
          holds: async () => Infinity,
        };
      },
    },
    placeholders: { find: () => [] },
    proposals: { policyFor: () => null },
    load: { begin: () => called.push('begin'), end() {} },
    audit: { note: () => called.push('note'), write: () => undefined },
    figures: { exchanged() {} },
    log: { error: (facts: object) => called.push(JSON.stringify(facts)) },
    tracer: null,
    now: () => 0,
  } as unknown as ProxyServices;
  const inbound: InboundRequest = {
    head: {
      method: 'GET',
      target: 'http://sidekey.internal/',
      version: '1.1',
      fields: ['Host', 'sidekey.internal'],
    },
    body: null,
    client: { address: '127.0.0.1:4711', loopback: true, owner: () => 'own', tunnel: null },
  };
  const reply = { head() {}, write: () => true, end() {} } as unknown as Reply;
  const forwarder = { send: () => called.push('send'), watch: null };
  await exchange({ inbound, reply, services, forwarder });
  // Stages would go on in microtasks.
  await new Promise((resolve) => setImmediate(resolve));
  expect(called).toEqual(['identify', 'note']);
});
