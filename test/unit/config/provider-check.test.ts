import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { checkProvider, openCatalog } from '../../../src/config/catalog.ts';
import { tempFolder } from '../../support/temp-folder.ts';

/** The problems of a definition with these lines. */
async function misfits(lines: string, token = 'token: { label: key }\n') {
  const own = join(await tempFolder(), 'providers');
  await mkdir(own);
  const head = 'title: Corp\ncategory: code\ndocs: [https://corp.test/docs]\n';
  await writeFile(join(own, 'corp.yaml'), `${head}${token}${lines}\n`);
  const entry = (await openCatalog({ own })).get('corp');
  if (entry === undefined) throw new Error('no such provider');
  return checkProvider(entry).map(({ path, message }) => `${path.join('.')} ${message}`);
}

test('inject may name only hosts of the audience', async () => {
  const inject = 'inject: [{ hosts: [git.corp.test], as: bearer }]';
  expect(await misfits(`audience: [corp.test]\n${inject}`)).toEqual([
    'inject names git.corp.test, which is not in the audience',
  ]);
  expect(await misfits(`audience: ['*.corp.test']\n${inject}`)).toEqual([]);
});

test('a domain outside the audience must have the client’s own credential', async () => {
  const domains = 'audience: [corp.test]\ndomains: [corp.test, images.corp.test]';
  expect(await misfits(domains)).toEqual(['domains names images.corp.test, which is not in the audience']);
  const own = 'inject: [{ hosts: [images.corp.test], as: own }, { as: bearer }]';
  expect(await misfits(`${domains}\n${own}`)).toEqual([]);
});

test('a definition that lacks a part of its login names the part', async () => {
  const start = 'audience: [corp.test]\nauthorization_endpoint: https://corp.test/authorize';
  expect(await misfits(start, '')).toEqual(['authorization_endpoint needs a token_endpoint beside it']);
});

test('an empty file names keys of a provider, not of the config file', async () => {
  const own = join(await tempFolder(), 'providers');
  await mkdir(own);
  await writeFile(join(own, 'corp.yaml'), '');
  await expect(async () => openCatalog({ own })).rejects.toThrow('is empty; it needs at least audience');
});
