import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { routes } from '../../../src/api/routes.ts';
import { renderSdk } from '../../../tools/sdk/generate.ts';

const root = join(import.meta.dirname, '../../..');
const files = Object.entries(renderSdk());

it.each(files)('%s is that of the routes ("npm run sdk" makes it)', (file, text) => {
  expect(readFileSync(join(root, file), 'utf8') === text).toBe(true);
});

it('llms.txt names each operation', () => {
  const text = readFileSync(join(root, 'llms.txt'), 'utf8');
  expect(routes.map(({ id }) => id).filter((id) => !text.includes(`- ${id}: `))).toEqual([]);
});
