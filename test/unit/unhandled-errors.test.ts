/**
 * Rejections and error events that nothing handles: they fail a run of all tests, though each test passed.
 */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const cwd = join(import.meta.dirname, '..');
const folders = '{support,unit,property,conformance,integration,security,clients,browser}';

/** Returns the files of tests with such a text. */
function filesWith(text: RegExp): string[] {
  const files = globSync(`${folders}/**/*.ts`, { cwd, exclude: ['**/node_modules'] });
  expect(files.length).toBeGreaterThan(700);
  return files
    .filter((file) => text.test(readFileSync(join(cwd, file), 'utf8')))
    .map((file) => file.replaceAll('\\', '/'));
}

it('servers of tests read the body of a request with requestBody, which never rejects', () => {
  const consuming = /\b(?:text|json|buffer|arrayBuffer|blob)\((?:request|incoming|asked)\)/;
  expect(filesWith(consuming)).toEqual(['support/request-body.ts']);
});

it('no test watches a folder recursively: Node.js throws if a folder vanishes while it is read', () => {
  expect(filesWith(/\bwatch\([^)]*\brecursive\b/)).toEqual([]);
});
