import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parseConfig } from '../../../src/config/load.ts';
import { shippedFile } from '../../../src/lib/package-files.ts';

/** An example line: a key or an item of a list, and not a sentence. */
const example = /^# (?= *(?:["\w*.:-]+:(?: |$)|- ))/;

/** The shipped file with every example uncommented; an example replaces a key that is set already. */
function uncommented(text: string): string {
  const [, ...lines] = text.split('\n');
  const examples = lines.filter((line) => example.test(line)).map((line) => line.replace(example, ''));
  const keys = examples.flatMap((line) => /^(\w+):/.exec(line)?.[1] ?? []);
  return lines
    .filter((line) => !keys.some((key) => line.startsWith(`${key}:`)))
    .map((line) => line.replace(example, '').replace(/^domains: \{\}$/, 'domains:'))
    .join('\n');
}

test('every example in the shipped config file is valid, separately and all together', async () => {
  const text = uncommented(readFileSync(shippedFile('default.yaml'), 'utf8'));
  const config = await parseConfig(text, '/x/config/sidekey.yaml', { env: {}, cwd: '/x' });
  expect(config.domains.map(({ pattern }) => pattern.text)).toEqual([
    'api.github.com',
    '*.googleapis.com',
    'helpdesk.acme.test:8443',
    'example.org',
    '*.example.net',
    'gitlab.com',
  ]);
  expect(config.domains.at(-1)?.rules?.rules.map(({ rule }) => rule.conditions.methods)).toEqual([
    ['GET', 'HEAD'],
    ['POST'],
  ]);
  expect(config.leases).toEqual({ defaultTtlMs: 900_000, maxTtlMs: 86_400_000, revokesTokens: false });
  expect(config.audit.sinks).toHaveLength(1);
  expect(config.providers.get('intranet')?.audience).toEqual(['tickets.example.com']);
});
