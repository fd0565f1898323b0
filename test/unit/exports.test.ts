import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { describe, expect, it } from 'vitest';
import { posixOnly } from '../windows/posix-only.ts';
import { importsOf } from './imports.ts';
import { sourceFiles } from './source-files.ts';

const root = join(import.meta.dirname, '../..');

const declaration =
  /^export\s+(?:default\s+)?(?:abstract\s+)?(?:async\s+)?(?:function\*?|const|let|class|interface|type|enum)\s+([\w$]+)/gm;
const destructured = /^export\s+const\s+[[{]([^\]}]*)[\]}]/gm;
const list = /^export\s+(?:type\s+)?\{([^}]*)\}(?!\s*from)/gm;

/** Names in the braces of an export. */
function names(listed: string): string[] {
  return listed
    .split(',')
    .map((name) =>
      name
        .trim()
        .split(/\s+as\s+|\s*:\s*/)
        .at(-1)!,
    )
    .filter((name) => name !== '');
}

/** Names that a file exports. */
function exportsOf(text: string): string[] {
  return [
    ...Array.from(text.matchAll(declaration), ([, name]) => name!),
    ...Array.from(text.matchAll(destructured), ([, listed]) => names(listed!)).flat(),
    ...Array.from(text.matchAll(list), ([, listed]) => names(listed!)).flat(),
  ];
}

/** All TypeScript files of a folder of the checkout, by their paths relative to `src`. */
function filesOf(folder: string): [string, string][] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => /\.tsx?$/.test(file) && !file.includes('node_modules'))
    .map((file) => [
      posix.join('..', folder, file.replaceAll('\\', '/')),
      readFileSync(join(root, folder, file), 'utf8'),
    ]);
}

function unused(
  sources: ReadonlyMap<string, string>,
  others: Iterable<readonly [string, string]> = [],
): string[] {
  const imported = new Map<string, Set<string>>();
  for (const [file, text] of [...sources, ...others])
    for (const { to, all } of importsOf(file, text)) {
      const source = to.replace(/^\.\.\/src\//, '');
      imported.set(source, new Set([...(imported.get(source) ?? []), ...all]));
    }
  return [...sources].flatMap(([file, text]) => {
    const names = imported.get(file);
    if (names?.has('*') === true) return [];
    return exportsOf(text)
      .filter((name) => names?.has(name) !== true)
      .map((name) => `${file}: ${name}`);
  });
}

describe('the exports of src', () => {
  it('are each imported by another file', () => {
    const others = ['test', 'examples', 'tools'].flatMap(filesOf);
    // The programs of others import the SDKs.
    const found = unused(sourceFiles(), others).filter((name) => !name.startsWith('sdk/'));
    expect(found).toEqual([]);
  });
});

/** Operations that no route runs, and the reason. */
const withoutRoute: Readonly<Record<string, string>> = {
  acceptLoss: 'is for the person who knows why lines are missing',
  anchorAudit: 'writes to a file of that person',
  getApiKey: 'the list of keys has the same members',
  importGrants: 'stores several grants, of which addGrant stores one',
  suggestDomains: 'prints entries to copy into the config file',
};

describe('the operations', () => {
  it('are each imported by the API, or have a reason to have no route', () => {
    const sources = [...sourceFiles()];
    const operations = sources
      .filter(([file]) => file.startsWith('operations/'))
      .flatMap(([, text]) => [
        ...text.matchAll(/^export const (\w+) = (?:reading|readingConfig|changing)\(/gm),
      ])
      .map(([, name]) => name!);
    const served = new Set(
      sources
        .filter(([file]) => file.startsWith('api/'))
        .flatMap(([file, text]) => importsOf(file, text))
        .flatMap(({ names: values }) => values),
    );
    expect(operations.length).toBeGreaterThan(60);
    expect(operations.filter((name) => !served.has(name)).toSorted()).toEqual(Object.keys(withoutRoute));
  });
});

describe('the tests that Windows does not run', () => {
  it('are files that exist', () => {
    expect(posixOnly.filter((file) => !existsSync(join(root, file)))).toEqual([]);
  });
});

describe('the files of src', () => {
  it('have 15 lines or more', () => {
    const short = [...sourceFiles()].filter(([, text]) => text.split('\n').length < 15);
    expect(short.map(([file]) => file)).toEqual([]);
  });
});

const check = (files: Record<string, string>) => unused(new Map(Object.entries(files)));

describe('the export check', () => {
  it.each([
    `export function a() {}`,
    `export async function a() {}`,
    `export const a = 1;`,
    `export const [a] = [1];`,
    `export interface a {}`,
    `export type a = 1;`,
    `export class a {}`,
    `const b = 1;\nexport { b as a };`,
  ])('reports %j if no file imports it', (text) => {
    expect(check({ 'a.ts': text, 'b.ts': '' })).toEqual(['a.ts: a']);
  });

  it.each([
    `import { a } from './a.ts';`,
    `import type { a } from './a.ts';`,
    `import { type a as b } from './a.ts';`,
    `const { a: b } = await import('./a.ts');`,
    `const all = await import('./a.ts');`,
    `import * as all from './a.ts';`,
  ])('accepts an export that is imported by %j', (text) => {
    expect(check({ 'a.ts': 'export const a = 1;', 'b.ts': text })).toEqual([]);
  });
});
