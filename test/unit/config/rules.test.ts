import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { loadConfig, parseConfig } from '../../../src/config/load.ts';

const good = fileURLToPath(new URL('../../fixtures/config/good/rules.yaml', import.meta.url));
const { domains } = await loadConfig(good, { env: {} });
const rulesOf = (host: string) => domains.find(({ pattern }) => pattern.text === host)?.rules;

describe('rules of a config file', () => {
  test('include the rules of policies at the position of the policy, with their origin', () => {
    expect(
      rulesOf('api.github.com')?.rules.map(({ rule }) => [
        rule.name,
        rule.outcome,
        rule.origin.split(' ')[0],
      ]),
    ).toEqual([
      ['at-night', 'deny', 'policies.office-hours[0]'],
      ['read', 'allow', 'policies.read-only[0]'],
      ['comment', 'allow', 'domains["api.github.com"].rules[2]'],
      [null, 'approve', 'domains["api.github.com"].rules[3]'],
    ]);
    expect(rulesOf('api.github.com')).toMatchObject({ default: 'tunnel', mode: 'report' });
  });

  test('have restrictive defaults', () => {
    expect(rulesOf('api.example.com')).toMatchObject({ default: 'deny', mode: 'enforce' });
    expect(rulesOf('ask.example.com')).toMatchObject({ rules: [], default: 'approve' });
  });

  test('are read completely', () => {
    const rule = rulesOf('api.github.com')?.rules[2]?.rule;
    expect(rule).toMatchObject({
      requireReason: true,
      maxResponse: 1_048_576,
      conditions: {
        methods: ['POST'],
        bodySize: { min: 1, max: 65_536 },
        clients: [
          { address: '10.1.0.0', prefix: 16 },
          { address: '::1', prefix: 128 },
        ],
        times: null,
      },
      limits: [
        { kind: 'rate', per: 'rule', count: 5, perMs: 10_000, burst: 5 },
        { kind: 'rate', per: 'rule', count: 100, perMs: 3_600_000, burst: 100 },
        { kind: 'budget', per: 'grant', requests: 1_000, bytes: 10_000_000 },
      ],
    });
    const night = rulesOf('api.github.com')?.rules[0]?.rule;
    expect(night?.conditions.times).toEqual([
      { from: 1_080, to: 480, weekdays: [0, 1, 2, 3, 4, 5, 6], zone: 'Europe/Berlin' },
      { from: 0, to: 1_440, weekdays: [6, 0], zone: 'Europe/Berlin' },
    ]);
  });

  test('are frozen, including their maps', () => {
    const rules = rulesOf('api.github.com');
    const query = rules?.rules[2]?.rule.conditions.query as Map<string, never>;
    expect(Object.isFrozen(rules?.rules[0]?.rule.conditions)).toBe(true);
    expect(() => query.clear()).toThrow(TypeError);
  });

  test('are refused over the limit before they are evaluated', async () => {
    const many = Array.from({ length: 501 }, (_, index) => `{ methods: [M${'-'.repeat(index)}] }`);
    const text = `version: 1\ndomains: { a.example.com: { grant: a, rules: [${many.join(', ')}] } }\n`;
    await expect(parseConfig(text, '/x/sidekey.yaml', { env: {}, cwd: '/x' })).rejects.toThrow(
      'sidekey.yaml:2:46: domains["a.example.com"].rules: has more than 500 rules.',
    );
    const policies = `version: 1\npolicies: { p: [${many.slice(1).join(', ')}] }\n`;
    const uses =
      'domains: { a.example.com: { grant: a, rules: [{ policy: p }, { policy: p }, { policy: p }] } }\n';
    await expect(parseConfig(policies + uses, '/x/sidekey.yaml', { env: {}, cwd: '/x' })).rejects.toThrow(
      'has more than 1000 rules with those of its policies',
    );
  });
});
