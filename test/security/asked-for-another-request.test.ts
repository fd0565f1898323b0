/**
 * A person who is asked sees a method and a path. What upstream could take for another method, or another
 * path, is refused before anybody is asked, also where no rule looks at methods or paths.
 */
import { expect, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import { decideRequest } from '../../src/proxy/policy/decide.ts';
import { createDomainMap } from '../../src/proxy/policy/domain-map.ts';
import { factsOf } from '../support/request-facts.ts';

async function decisionOn(rules: string, path: string, facts: Parameters<typeof factsOf>[1] = {}) {
  const text = `version: 1\ndomains:\n  a.example: { grant: acme, ${rules} }\n`;
  const { domains } = await parseConfig(text, '/x/sidekey.yaml', { env: {}, cwd: '/x' });
  const policy = { domains: createDomainMap(domains), unmatched: 'deny' } as const;
  return decideRequest(policy, factsOf(`https://a.example${path}`, { method: 'POST', ...facts }));
}

const override = { methodFields: ['the header X-HTTP-Method-Override'] };

test.each([
  ['by default', 'default: approve'],
  ['by a rule about something else', 'rules: [{ agents: [robot], outcome: approve }], default: allow'],
  ['by a rule about paths', 'rules: [{ paths: [/repos/**], outcome: approve }], default: allow'],
  ['by a rule about methods', 'rules: [{ methods: [DELETE], outcome: approve }], default: allow'],
])('an ambiguous request is refused if a person may have to approve %s', async (_, rules) => {
  for (const [path, facts] of [
    ['/repos/x', override],
    ['/repos/x?_method=DELETE', {}],
    ['/repos/%2e%2e/admin', {}],
    ['/repos//x', {}],
    ['/repos/..;/admin', {}],
  ] as const) {
    expect([path, await decisionOn(rules, path, facts)]).toMatchObject([
      path,
      { outcome: 'deny', code: 'policy_violation' },
    ]);
  }
  expect(['inject', 'approve']).toContain((await decisionOn(rules, '/repos/x')).outcome);
});

test('an ambiguous request that needs no approval is not refused', async () => {
  const rules = 'rules: [{ agents: [robot], outcome: deny }], default: allow';
  expect(await decisionOn(rules, '/a//b', override)).toMatchObject({ outcome: 'inject' });
});
