import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parseConfig } from '../../../src/config/load.ts';
import { shippedFile } from '../../../src/config/locate.ts';

/** A line that is an example: a key, or an item of a list, and no sentence. */
const example = /^# (?= *(?:["\w*.:-]+:(?: |$)|- ))/;

/** The shipped file as it is when every example is taken over; one of a key that is set takes that key's place. */
function uncommented(text: string): string {
  const [, ...lines] = text.split('\n');
  const examples = lines.filter((line) => example.test(line)).map((line) => line.replace(example, ''));
  const keys = examples.flatMap((line) => /^(\w+):/.exec(line)?.[1] ?? []);
  return lines
    .filter((line) => !keys.some((key) => line.startsWith(`${key}:`)))
    .map((line) => line.replace(example, '').replace(/^domains: \{\}$/, 'domains:'))
    .join('\n');
}

test('every example of the config file that ships is valid, all of them at once', async () => {
  const text = uncommented(readFileSync(shippedFile('sidekey.yaml'), 'utf8'));
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
  expect(config.leases).toEqual({ defaultTtlMs: 900_000, maxTtlMs: 28_800_000 });
  expect(config.audit.sinks).toHaveLength(1);
  expect(config.providers.get('intranet')?.audience).toEqual(['tickets.example.com']);
});
