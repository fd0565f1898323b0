import { expect, it } from 'vitest';
import { sourceFiles } from './source-files.ts';

const opening = /\/\*\*\s+(?:\*\s+)?(?:What|Of|Whether|How|Where|Who|Which|Why|When)\s.*/g;

it('doc comments of src open with a noun or a verb instead of a clause', () => {
  const found = [...sourceFiles()].flatMap(([file, text]) =>
    Array.from(text.matchAll(opening), ([comment]) => `${file}: ${comment}`),
  );
  expect(found).toEqual([]);
});
