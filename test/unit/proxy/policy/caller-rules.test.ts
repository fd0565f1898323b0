import { expect, test } from 'vitest';
import { parseConfig } from '../../../../src/config/load.ts';
import { describeRule } from '../../../../src/proxy/policy/judge.ts';
import { areReadOnly, type DomainRules, rulesFor } from '../../../../src/proxy/policy/rule.ts';
import { factsOf } from '../../../support/request-facts.ts';

async function rulesFrom(rules: string): Promise<DomainRules> {
  const text = `version: 1\ndomains:\n  a.example: { grant: acme, ${rules} }\n`;
  const config = await parseConfig(text, '/x/sidekey.yaml', { env: {}, cwd: '/x' });
  const [domain] = config.domains;
  if (domain?.rules === undefined) throw new Error('no rules');
  return domain.rules;
}

const facts = (of: object) => factsOf('https://a.example/', of);

test('rules for other callers are omitted, and conditions on the caller are hidden', async () => {
  const rules = await rulesFrom(`rules: [
    { name: ci, methods: [GET], agents: [ci-*] },
    { name: alice, methods: [POST], users: [alice] },
    { name: office, methods: [PUT], clients: [10.0.0.0/8] },
    { name: prod, methods: [DELETE], labels: [env:prod] },
    { name: all, paths: [/v1/**] } ]`);
  const shown = (of: object) =>
    rulesFor(rules, facts(of)).map((rule) => `${rule.name}: ${describeRule(rule)}`);
  expect(shown({ agent: 'ci-bot' })).toEqual(['ci: methods GET', 'all: paths /v1/**']);
  expect(shown({ user: 'alice', client: '10.1.2.3' })).toEqual([
    'alice: methods POST',
    'office: methods PUT',
    'all: paths /v1/**',
  ]);
  expect(shown({ labels: ['env:prod'] })).toEqual(['prod: methods DELETE', 'all: paths /v1/**']);
});

test.each([
  ['rules: [{ methods: [GET, HEAD] }, { methods: [DELETE], outcome: deny }]', true],
  ['rules: [{ methods: [GET], outcome: approve }]', true],
  ['rules: [{ methods: [GET, POST] }]', false],
  ['rules: [{ paths: [/v1/**] }]', false],
  ['rules: [{ methods: [GET] }], default: allow', false],
  ['rules: [{ methods: [GET] }], default: approve', false],
  ['rules: [{ methods: [GET] }], mode: report', false],
])('%s is read-only: %s', async (text, isReadOnly) => {
  const rules = await rulesFrom(text);
  expect(areReadOnly(rulesFor(rules, facts({})), rules)).toBe(isReadOnly);
});
