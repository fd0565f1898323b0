import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { renderLlms } from '../../../tools/sdk/generate.ts';

it('llms.txt has the operations of the API ("npm run sdk" writes them)', () => {
  const text = readFileSync(join(import.meta.dirname, '../../../llms.txt'), 'utf8');
  expect(text).toBe(renderLlms(text));
});
