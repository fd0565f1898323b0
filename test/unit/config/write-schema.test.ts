import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { shippedFile } from '../../../src/lib/package-files.ts';
import { renderJsonSchema } from '../../../tools/config-files.ts';
import { pages, textOf } from '../../support/doc-commands.ts';
import { limitTable } from '../../../src/proxy/policy/limits.ts';

interface JsonSchema {
  readonly description?: string;
  readonly additionalProperties?: unknown;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly type?: string;
}

const schema = JSON.parse(renderJsonSchema()) as JsonSchema;

test('the schema file matches the source; otherwise run npm run schema', async () => {
  await expect(readFile(shippedFile('sidekey.schema.json'), 'utf8')).resolves.toBe(renderJsonSchema());
});

test('every object of the schema refuses unknown keys, and every key has a description', () => {
  const visit = (at: string, inner: JsonSchema): void => {
    if (inner.properties === undefined) return;
    expect(inner.additionalProperties, at).toBe(false);
    for (const [key, property] of Object.entries(inner.properties)) {
      expect(property.description, `${at}.${key}`).toBeTruthy();
      visit(`${at}.${key}`, property);
    }
  };
  visit('', schema);
});

test('every limit of the table is in the schema', () => {
  expect(Object.keys(schema.properties?.['limits']?.properties ?? {})).toEqual(Object.keys(limitTable));
});

test('docs/configuration.md has a row for every section, and the docs name every other key', () => {
  const rows = Array.from(textOf('docs/configuration.md').matchAll(/^\| `(\w+)` +\|/gm), ([, key]) => key);
  expect(Object.keys(schema.properties ?? {}).filter((key) => !rows.includes(key))).toEqual([]);
  const words = new Set(pages.flatMap((page) => textOf(page).match(/\w+/g) ?? []));
  const keys = new Set<string>();
  JSON.stringify(schema, (key, value: { readonly properties?: object } | null) => {
    // The schema is the reference of limits and of definitions of providers.
    if (key === 'limits' || key === 'providers') return undefined;
    if (typeof value?.properties === 'object')
      for (const name of Object.keys(value.properties)) keys.add(name);
    return value;
  });
  expect([...keys].filter((key) => !words.has(key))).toEqual([]);
});
