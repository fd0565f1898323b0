import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { shippedFile } from '../../../src/config/locate.ts';
import { renderJsonSchema } from '../../../src/config/generate.ts';
import { limitTable } from '../../../src/policy/limits.ts';

interface JsonSchema {
  readonly description?: string;
  readonly additionalProperties?: unknown;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly type?: string;
}

const schema = JSON.parse(renderJsonSchema()) as JsonSchema;

test('the file is what the source says now; else run npm run schema', async () => {
  await expect(readFile(shippedFile('sidekey.schema.json'), 'utf8')).resolves.toBe(renderJsonSchema());
});

test('every map refuses keys that it does not name, and every key is explained', () => {
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

test('every limit of the table can be set', () => {
  expect(Object.keys(schema.properties?.['limits']?.properties ?? {})).toEqual(Object.keys(limitTable));
});
