import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

test('the build of the image sees each file of config/ that the package has', () => {
  const { files } = JSON.parse(readFileSync('package.json', 'utf8')) as { readonly files: readonly string[] };
  const seen = readFileSync('.dockerignore', 'utf8').split('\n');
  expect(files.filter((file) => file.startsWith('config/') && !seen.includes(`!${file}`))).toEqual([]);
});
