import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { sourceFiles } from './source-files.ts';

const opening = /\/\*\*\s+(?:\*\s+)?(?:What|Of|Whether|How|Where|Who|Which|Why|When)\s.*/g;

function testFiles(): [string, string][] {
  const cwd = join(import.meta.dirname, '..');
  const files = globSync('**/*.ts', { cwd, exclude: ['**/node_modules'] });
  return files.map((file) => [join('test', file), readFileSync(join(cwd, file), 'utf8')]);
}

it('doc comments of src and test open with a noun or a verb instead of a clause', () => {
  const files = [...sourceFiles(), ...testFiles()];
  expect(files.length).toBeGreaterThan(1_000);
  const found = files.flatMap(([file, text]) =>
    Array.from(text.matchAll(opening), ([comment]) => `${file}: ${comment}`),
  );
  expect(found).toEqual([]);
});
