import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { shippedFile } from '../../../src/lib/package-files.ts';
import { renderJsonSchema } from '../../../tools/config-files.ts';
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
