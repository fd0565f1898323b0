import { expect, it } from 'vitest';
import { describeAction } from '../../../src/operations/dry-run-texts.ts';
import { allowDomain } from '../../../src/config/edit.ts';
import { parseConfig } from '../../../src/config/load.ts';

it('the description of an entry names its leak_guard when it is not the default', async () => {
  const guards = ['auto', 'redact', 'refuse', 'off'];
  const entries = guards.map((guard) => `  ${guard}.example.com: { grant: g, leak_guard: ${guard} }\n`);
  const text = `version: 1\ndomains:\n  none.example.com: { grant: g }\n${entries.join('')}`;
  const { domains } = await parseConfig(text, '/x/sidekey.yaml', { env: {}, cwd: '/x' });
  expect(domains.map(describeAction)).toEqual([
    'grant g',
    'grant g',
    'grant g, leaks redacted',
    'grant g, leaks refused',
    'grant g, leaks not searched',
  ]);
});

it('an entry keeps its leak_guard when its grant changes', () => {
  const text = 'version: 1\ndomains:\n  api.example.com: { grant: old, leak_guard: refuse }\n';
  expect(allowDomain(text, 'api.example.com', 'new').text).toContain('{ grant: new, leak_guard: refuse }');
});
