import * as fc from '../support/fast-check.ts';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { allowDomain, removeDomain, setDomain } from '../../src/config/edit.ts';

/**
 * Config texts as people write them: odd spacing, comments anywhere, three shapes of the map, both line ends.
 */
const label = fc.stringMatching(/^[a-z][a-z0-9]{0,6}$/);
const host = fc.tuple(label, label).map(([a, b]) => `${a}.${b}.test`);
const pattern = fc.oneof(
  host,
  host.map((text) => `*.${text}`),
  fc.tuple(host, fc.integer({ min: 1, max: 65_535 })).map(([text, port]) => `${text}:${port}`),
);
const action = fc.oneof(
  fc.constant('tunnel'),
  fc.constant("'deny'"),
  label.map((grant) => `{ grant: ${grant} }`),
  label.map((grant) => `{grant: "${grant}",   allow_plain_http: true}`),
);
const comment = fc.oneof(fc.constant(''), fc.stringMatching(/^ {1,3}# ?[ -~]{0,20}$/));
const filler = fc.array(fc.oneof(fc.constant(''), fc.stringMatching(/^ {0,4}#[ -~]{0,20}$/)), {
  maxLength: 2,
});
const other = fc.constantFrom(
  'log: {level:   debug}',
  'proxy:\n      listen:    "127.0.0.1:0"   # here',
  "upstream:\n- ca\n- 'x'",
  'note: >-\n  folded\n\n  text',
  'long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb cccccccccccccccccccccccccccccccccc',
);

const blockMap = fc
  .tuple(
    fc.array(fc.tuple(pattern, action, comment, filler), { minLength: 1, maxLength: 6 }),
    fc.constantFrom(1, 2, 4),
  )
  .map(([entries, indent]) => {
    const unique = [...new Map(entries.map((entry) => [entry[0], entry])).values()];
    return [
      'domains:',
      ...unique.flatMap(([key, value, note, lines]) => [
        ...lines,
        `${' '.repeat(indent)}${key.startsWith('*') ? `"${key}"` : key}: ${value}${note}`,
      ]),
    ];
  });
const flowMap = fc.array(fc.tuple(host, action), { minLength: 1, maxLength: 4 }).map((entries) => {
  const unique = [...new Map(entries)].map(([key, value]) => `${key}: ${value}`);
  return [`domains: {${unique.join(',  ')}}`];
});
const emptyMap = fc
  .tuple(fc.constantFrom('domains: {}', 'domains:', 'domains:   ~'), comment)
  .map(([text, note]) => [`${text}${note}`]);
const map = fc.oneof(blockMap, flowMap, emptyMap, fc.constant<string[]>([]));

const configText = fc
  .tuple(
    filler,
    map,
    filler,
    fc.option(other),
    fc.boolean(),
    fc.constantFrom('\n', '\r\n'),
    fc.constantFrom('', '\n'),
  )
  .map(([before, domains, between, more, first, newline, end]) => {
    const rest = more === null ? [] : more.split('\n');
    const lines = [
      ...before,
      'version: 1',
      ...(first ? domains : rest),
      ...between,
      ...(first ? rest : domains),
    ];
    return lines.join(newline) + (end === '' ? '' : newline);
  });

/** Lines of `text` that are not in `other`, in order: what an edit added or took away. */
function linesOnlyIn(text: string, other: string): string[] {
  const left = other.split(/\r?\n/);
  let from = 0;
  return text.split(/\r?\n/).filter((line) => {
    const at = left.indexOf(line, from);
    if (at >= 0) from = at + 1;
    return at < 0;
  });
}

const domainsOf = (text: string): Record<string, unknown> =>
  ((parse(text, { stringKeys: true }) as Record<string, unknown>)['domains'] ?? {}) as Record<
    string,
    unknown
  >;

test('an edit makes the requested change and leaves every other line unchanged, byte for byte', () => {
  fc.assert(
    fc.property(configText, pattern, label, (text, key, grant) => {
      const edit = allowDomain(text, key, grant);
      expect(domainsOf(edit.text)).toEqual({ ...domainsOf(text), [edit.key ?? edit.pattern]: { grant } });
      // The line of the entry, the line that held the map, and the heading of a map that was missing.
      const changed = linesOnlyIn(text, edit.text);
      expect(changed.length).toBeLessThanOrEqual(1);
      expect(changed.every((line) => /domains:|: (tunnel|'deny'|\{)/.test(line))).toBe(true);
      expect(linesOnlyIn(edit.text, text).length).toBeLessThanOrEqual(4);
      if (text.includes('\r\n')) expect(edit.text).not.toMatch(/(?<!\r)\n/);
      expect(allowDomain(edit.text, key, grant)).toMatchObject({ change: 'unchanged', text: edit.text });
    }),
    { numRuns: 500 },
  );
});

test('removing an added domain restores the map and leaves every other line unchanged', () => {
  fc.assert(
    fc.property(configText, pattern, (text, key) => {
      const absent = removeDomain(text, key).text;
      const added = setDomain(absent, key, 'deny');
      expect(added.change).toBe('added');
      const removed = removeDomain(added.text, key);
      expect(removed.change).toBe('removed');
      expect(domainsOf(removed.text)).toEqual(domainsOf(absent));
      expect(linesOnlyIn(absent, removed.text).length).toBeLessThanOrEqual(1);
    }),
    { numRuns: 500 },
  );
});

test('an entry that is added to a map in block style is the only new line', () => {
  const text = fc
    .tuple(filler, blockMap, filler)
    .map((parts) => ['version: 1', ...parts.flat(), ''].join('\n'));
  fc.assert(
    fc.property(text, label, (before, name) => {
      const key = `${name}.new.example`;
      const { text: after } = setDomain(before, key, 'tunnel');
      const at = after.split('\n').findIndex((line) => line.trim() === `${key}: tunnel`);
      expect(after.split('\n').toSpliced(at, 1).join('\n')).toBe(before);
    }),
    { numRuns: 300 },
  );
});
