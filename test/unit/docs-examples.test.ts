import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { packageRoot } from '../../src/lib/package-files.ts';
import { configSchema } from '../../src/config/schema.ts';

const pages = ['README.md', ...globSync('docs/*.md', { cwd: packageRoot })];

/** The YAML examples of a page, each as a whole config file. */
function examples(page: string): { readonly text: string; readonly config: object }[] {
  const text = readFileSync(path.join(packageRoot, page), 'utf8');
  return [...text.matchAll(/```yaml\n([^]*?)```/g)]
    .flatMap(([, block = '']) => parseAllDocuments(block))
    .map((document) => {
      expect(document.errors).toEqual([]);
      return { text: document.toString(), value: document.toJS() as object };
    })
    .filter(({ value }) => !Array.isArray(value))
    .map(({ text: example, value }) => ({ text: example, config: { version: 1, ...wrapped(value) } }));
}

/** An example of a part, at its place in the config. */
function wrapped(part: object): object {
  const is = (key: string) => Object.hasOwn(part, key);
  if (is('inject') || is('dialect') || is('expired'))
    return { providers: { example: { audience: ['api.example'], ...part } } };
  if (is('client_certificates')) return { upstream: part };
  if (is('proxy') && 'url' in Object(Object(part)['proxy'])) return { upstream: part };
  if (is('rules')) return { domains: { 'api.example': { grant: 'example', ...part } } };
  return part;
}

describe('config examples in pages', () => {
  it('are found', () => {
    expect(pages.flatMap(examples).length).toBeGreaterThan(20);
  });

  it.each(pages)('%s: every example fits the schema', (page) => {
    const wrong = examples(page).flatMap(({ text, config }) =>
      (configSchema.safeParse(config).error?.issues ?? []).map(
        (issue) => `${issue.path.join('.')}: ${issue.message}\n${text}`,
      ),
    );
    expect(wrong).toEqual([]);
  });
});
