import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { clients } from '../../../src/clients/programs.ts';
import { renderClientsPage } from '../../../tools/clients-page.ts';
import { packageRoot } from '../../../src/lib/package-files.ts';

test('the page of clients matches the tables; otherwise run npm run clients', async () => {
  expect(await readFile(join(packageRoot, 'docs', 'clients.md'), 'utf8')).toBe(renderClientsPage());
});

const tested = clients.flatMap(({ name, seen }) =>
  seen.flatMap(({ what, test: file }) => (file === null ? [] : [{ name, what, file }])),
);

test.each(tested)('$what, of $name, names an existing test', ({ file }) => {
  expect(existsSync(join(packageRoot, 'test', 'clients', `${file}.test.ts`))).toBe(true);
});
