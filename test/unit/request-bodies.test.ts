import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const consuming = /\b(?:text|json|buffer|arrayBuffer|blob)\((?:request|incoming|asked)\)/;

it('servers of tests read the body of a request with requestBody, which never rejects', () => {
  const cwd = join(import.meta.dirname, '..');
  const files = globSync('{support,unit,property,conformance,integration,security,clients,browser}/**/*.ts', {
    cwd,
  });
  expect(files.length).toBeGreaterThan(700);
  const found = files.filter((file) => consuming.test(readFileSync(join(cwd, file), 'utf8')));
  expect(found.map((file) => file.replaceAll('\\', '/'))).toEqual(['support/request-body.ts']);
});
