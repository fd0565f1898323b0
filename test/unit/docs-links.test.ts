import { existsSync, globSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/lib/package-files.ts';

/** Pages for people, relative to the package. */
const pages = ['*.md', 'certs/*.md', 'docs/**/*.md', 'examples/**/*.md', 'skills/**/*.md']
  .flatMap((pattern) => globSync(pattern, { cwd: packageRoot }))
  .filter((page) => !page.includes('node_modules'))
  .toSorted();

describe('links between pages', () => {
  it('are checked in the README and in docs', () => {
    expect(pages).toContain('README.md');
    expect(pages).toContain('docs/rules.md');
  });

  it.each(pages)('%s: every relative link names a file and a heading that exist', (page) => {
    expect(deadLinks(page)).toEqual([]);
  });

  it('reports a dead file and a dead anchor', () => {
    const text =
      '# Outcomes\n\n[a](rules.md) [b](no-page.md) [c](rules.md#no-heading) [d](#outcomes) `[e](no-code.md)`';
    expect(deadLinks('docs/rules.md', text)).toEqual(['no-page.md', 'rules.md#no-heading']);
  });

  it('include those from src, config and skills: every page that these name exists', () => {
    const named = globSync('{src,config,skills}/**/*.{ts,yaml,md}', { cwd: packageRoot }).flatMap((file) =>
      [...read(file).matchAll(/(?<![\w./-])docs\/[\w/-]+\.md(?:#[\w-]+)?/g)]
        .filter(([target]) => !isAlive(packageRoot, target))
        .map(([target]) => `${file}: ${target}`),
    );
    expect(named).toEqual([]);
  });
});

/** Pages for developers, which name files of src and test. */
const developerPages = pages.filter((page) =>
  /^docs\/(?:architecture\.md|internals\/|decisions\/)/.test(page),
);

/** A row about one folder of src, whose other cells name files relative to the folder. */
const folderRow = /^\| `([a-z/-]+\/)` .*$/gm;

describe('files that pages for developers name', () => {
  it.each(developerPages)('%s: every file exists', (page) => {
    const text = read(page).replaceAll(folderRow, '');
    const missing = [...text.matchAll(/`((?:src\/)?[a-z0-9-]+\/[a-z0-9./-]+\.ts)`/g)]
      .map(([, file = '']) => file)
      .filter((file) => !['', 'src'].some((folder) => existsSync(path.join(packageRoot, folder, file))));
    expect(missing).toEqual([]);
  });

  it.each(developerPages)('%s: every path of a diagram exists', (page) => {
    const blocks = [...read(page).matchAll(/^```$[^]*?^```$/gm)].join('\n');
    const missing = [...blocks.matchAll(/(?<![\w./-])([a-z-]+)\/[a-z0-9/-]+/g)]
      .filter(([, folder = '']) => existsSync(path.join(packageRoot, 'src', folder)))
      .map(([file]) => path.join('src', file))
      .filter((file) => !['', '.ts'].some((suffix) => existsSync(path.join(packageRoot, file + suffix))));
    expect(missing).toEqual([]);
  });

  it.each(developerPages)('%s: every file of a folder that is listed exists', (page) => {
    const missing = [...read(page).matchAll(folderRow)].flatMap(([row, folder = '']) =>
      [...row.matchAll(/`([a-z0-9/-]+\.ts)`/g)]
        .map(([, file = '']) => path.join('src', folder, file))
        .filter((file) => !existsSync(path.join(packageRoot, file))),
    );
    expect(missing).toEqual([]);
  });
});

/** Relative links of a page whose file or heading does not exist. */
function deadLinks(page: string, text = read(page)): string[] {
  const folder = path.join(packageRoot, path.dirname(page));
  return [...withoutCode(text).matchAll(/\]\(([^()\s]+(?:\([^()\s]*\))?[^()\s]*)\)/g)]
    .map(([, target = '']) => target)
    .filter((target) => !/^[a-z][a-z0-9+.-]*:/i.test(target))
    .filter((target) =>
      target.startsWith('#') ? !headings(text).has(target.slice(1)) : !isAlive(folder, target),
    );
}

function isAlive(folder: string, target: string): boolean {
  const [name = '', anchor] = target.split('#');
  const file = path.resolve(folder, decodeURIComponent(name));
  if (!existsSync(file)) return false;
  return (
    anchor === undefined || (statSync(file).isFile() && headings(readFileSync(file, 'utf8')).has(anchor))
  );
}

/** Anchors of the headings of a page, as GitHub makes them. */
function headings(text: string): ReadonlySet<string> {
  const anchors = [...text.replaceAll(/^```[^]*?^```/gm, '').matchAll(/^#{1,6} +(.+)$/gm)].map(
    ([, title = '']) =>
      title
        .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
        .trim()
        .replaceAll(' ', '-'),
  );
  return new Set(anchors);
}

/** The page without code blocks and code spans, whose brackets are no links. */
function withoutCode(text: string): string {
  return text.replaceAll(/^ *```[^]*?^ *```/gm, '').replaceAll(/`[^`\n]*`/g, '');
}

function read(file: string): string {
  return readFileSync(path.join(packageRoot, file), 'utf8');
}
