import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../../../src/config/load.ts';
import { decideRequest, type Policy } from '../../../../src/proxy/policy/decide.ts';
import { createDomainMap } from '../../../../src/proxy/policy/domain-map.ts';
import { overridesMethod } from '../../../../src/proxy/policy/method-override.ts';
import { factsOf } from '../../../support/request-facts.ts';

const url = 'https://api.example.com/v1/users';

async function policyOf(domain: string): Promise<Policy> {
  const text = `version: 1
policies: { read-only: [{ methods: [GET, HEAD] }] }
domains: { api.example.com: { grant: acme, ${domain} } }
`;
  const config = await parseConfig(text, '/x/sidekey.yaml', { env: {}, cwd: '/x' });
  return { domains: createDomainMap(config.domains), unmatched: 'deny' };
}

describe('a method override header', () => {
  test.each([
    ['X-HTTP-Method-Override', true],
    ['x-http-method', true],
    ['X-METHOD-OVERRIDE', true],
    ['X_HTTP_Method_Override', true],
    ['X-HTTP-Methods', false],
    ['Method', false],
    ['X-HTTP-Method-Override-By', false],
  ])('is recognized by its name: %s', (name, expected) => {
    expect(overridesMethod(name)).toBe(expected);
  });

  test.each([
    ['rules: [{ methods: [POST] }]', 'policy_violation'],
    ['rules: [{ methods: [DELETE], outcome: deny }], default: allow', 'policy_violation'],
    ['rules: [{ policy: read-only }], default: allow', 'policy_violation'],
    // No rule judges the method there, so the header evades nothing.
    ['rules: [{ paths: [/v1/**] }]', null],
    ['default: allow', null],
  ])('is refused only if rules have method conditions: %s', async (domain, code) => {
    const facts = factsOf(url, { method: 'POST', methodFields: ['the header X-HTTP-Method-Override'] });
    const decision = decideRequest(await policyOf(domain), facts);
    expect(decision.outcome === 'deny' ? decision.code : null).toBe(code);
  });

  test('is named in the refusal, with a hint', async () => {
    const policy = await policyOf('rules: [{ methods: [POST] }]');
    const facts = factsOf(url, { method: 'POST', methodFields: ['the header X-Method-Override'] });
    expect(decideRequest(policy, facts)).toMatchObject({
      outcome: 'deny',
      reason:
        'the request names its method in the header X-Method-Override too, which some servers take for the method',
      hint: 'send the method in the request line alone, without the header X-Method-Override; the rules of domains["api.example.com"].rules (sidekey.yaml:3) judge methods',
    });
  });

  test('is reported only in a domain in report mode', async () => {
    const policy = await policyOf('mode: report, rules: [{ methods: [POST] }]');
    const facts = factsOf(url, { method: 'POST', methodFields: ['the header X-HTTP-Method'] });
    expect(decideRequest(policy, facts)).toMatchObject({
      outcome: 'inject',
      reported: { outcome: 'deny', code: 'policy_violation' },
    });
  });
});
