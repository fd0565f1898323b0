import { readFile } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';
import { expect, test } from 'vitest';

const source = new URL('../../../src/sdk/connect/connect.ts', import.meta.url);
const mostBytes = 5 * 1_024;

test('the library for popups has at most 5 KB, both as served and as built', async () => {
  const served = stripTypeScriptTypes(await readFile(source, 'utf8'));
  await using bundle = await rolldown({ input: fileURLToPath(source), platform: 'browser' });
  const { output } = await bundle.generate({ minify: true });
  expect(output).toHaveLength(1);
  for (const code of [served, output[0].code]) {
    expect(Buffer.byteLength(code)).toBeLessThanOrEqual(mostBytes);
    expect(code).not.toMatch(/^\s*import\b/m);
  }
});
