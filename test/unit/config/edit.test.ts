import { describe, expect, test } from 'vitest';
import { parseConfigDocument } from '../../../src/config/document.ts';
import {
  allowDomain,
  putDomain,
  readDomain,
  removeDomain,
  setDomain,
  setProvider,
} from '../../../src/config/edit.ts';
import type { EntryMap } from '../../../src/config/yaml-splice.ts';

const commented = `# Mine.
version: 1   # the format

proxy:
    agents:   optional      # odd spacing, kept

# The map.
domains:
  # GitHub
  api.github.com: { grant: github }   # work

  'example.org': tunnel
  # trailing words
log: {level: info}
`;

describe('adding an entry', () => {
  test('appends it after the last entry and leaves every other line unchanged', () => {
    const edit = allowDomain(commented, 'Helpdesk.ACME.test:8443', 'acme');
    expect(edit).toMatchObject({ change: 'added', pattern: 'helpdesk.acme.test:8443', key: null });
    expect(edit.text).toBe(
      commented.replace('tunnel\n', 'tunnel\n  helpdesk.acme.test:8443: { grant: acme }\n'),
    );
  });

  test('quotes it when YAML would read the plain text as another type', () => {
    expect(allowDomain('version: 1\n', '*.googleapis.com', 'google').text).toBe(
      'version: 1\n\ndomains:\n  "*.googleapis.com": { grant: google }\n',
    );
    expect(setDomain('version: 1\n', '[2001:db8::1]:8443', 'deny').text).toContain(
      '  "[2001:db8::1]:8443": deny\n',
    );
    expect(allowDomain('version: 1\n', 'a.b', '123').text).toContain('a.b: { grant: "123" }\n');
    expect(allowDomain('version: 1\n', 'a.b', 'true').text).toContain('a.b: { grant: "true" }\n');
  });

  test.each([
    [
      '{}',
      'version: 1\ndomains: {} # none\n#  a: b\n',
      'version: 1\ndomains: # none\n  a.b: tunnel\n#  a: b\n',
    ],
    ['nothing', 'domains:\nversion: 1\n', 'domains:\n  a.b: tunnel\nversion: 1\n'],
    ['no value, at the end of the text', 'version: 1\ndomains:', 'version: 1\ndomains:\n  a.b: tunnel'],
    ['only a comment', 'version: 1\ndomains: # a', 'version: 1\ndomains: # a\n  a.b: tunnel'],
    ['null', 'version: 1\ndomains: null\n', 'version: 1\ndomains:\n  a.b: tunnel\n'],
    [
      'a map in braces',
      'version: 1\ndomains: { c.d: deny }\n',
      'version: 1\ndomains: { c.d: deny, a.b: tunnel }\n',
    ],
    [
      'a map in braces over lines',
      'version: 1\ndomains: {\n  c.d: deny, # why\n}\n',
      'version: 1\ndomains: {\n  c.d: deny, a.b: tunnel, # why\n}\n',
    ],
    [
      'braces around a comment',
      'version: 1\ndomains: {\n  # none yet\n}\n',
      'version: 1\ndomains: { a.b: tunnel\n  # none yet\n}\n',
    ],
    ['JSON', '{"version": 1, "domains": {}}', '{"version": 1, "domains": { a.b: tunnel }}'],
    ['JSON without a map', '{"version": 1}', '{"version": 1, domains: { a.b: tunnel }}'],
    ['no such map', '# Mine.\nversion: 1', '# Mine.\nversion: 1\n\ndomains:\n  a.b: tunnel\n'],
    [
      'an entry in several lines',
      'version: 1\ndomains:\n    c.d:\n        grant: x # why\n    # more\nlog: {}\n',
      'version: 1\ndomains:\n    c.d:\n        grant: x # why\n    a.b: tunnel\n    # more\nlog: {}\n',
    ],
    [
      'CRLF line ends',
      'version: 1\r\ndomains:\r\n  c.d: deny\r\n',
      'version: 1\r\ndomains:\r\n  c.d: deny\r\n  a.b: tunnel\r\n',
    ],
    ['no line end', 'version: 1\ndomains:\n  c.d: deny', 'version: 1\ndomains:\n  c.d: deny\n  a.b: tunnel'],
    [
      'a block scalar',
      'domains:\n  c.d: |-\n    deny\nversion: 1\n',
      'domains:\n  c.d: |-\n    deny\n  a.b: tunnel\nversion: 1\n',
    ],
  ])('writes it when the map has %s', (_, before, after) => {
    expect(setDomain(before, 'a.b', 'tunnel')).toMatchObject({ change: 'added', text: after });
  });
});

const text = (value: string): string => `version: 1\ndomains:\n  a.b: ${value}\n  c.d: deny\nlog: {}\n`;

describe('replacing an entry', () => {
  test('keeps its position in any YAML style, and reports the change', () => {
    const text = commented.replace('api.github.com:', 'API.GitHub.com.:');
    expect(allowDomain(text, 'api.github.com', 'other', { allow_plain_http: true })).toEqual({
      change: 'replaced',
      pattern: 'api.github.com',
      key: 'API.GitHub.com.',
      text: text.replace('{ grant: github }', '{ grant: other, allow_plain_http: true }'),
    });
  });

  test.each([
    ['tunnel', 'tunnel'],
    ["'tunnel' # why", 'deny # why'],
    ['{ grant: x }', 'deny'],
    ['{ grant: x,\n    allow_plain_http: true }', 'deny'],
    ['\n    grant: x\n    allow_plain_http: true', 'deny'],
    [' # why\n    grant: x', ' # why\n    deny'],
    ['', 'deny'],
  ])('replaces the value %j', (before, after) => {
    const edit = setDomain(text(before), 'a.b', before === 'tunnel' ? 'tunnel' : 'deny');
    expect(edit.text).toBe(text(after));
    expect(edit.change).toBe(before === 'tunnel' ? 'unchanged' : 'replaced');
  });

  test('changes no byte when the entry has the same value', () => {
    const text = 'version: 1\ndomains:\n  a.b:   {allow_plain_http: false,   grant: "x"}\n';
    expect(allowDomain(text, 'A.b', 'x')).toEqual({ text, change: 'unchanged', pattern: 'a.b', key: 'a.b' });
    expect(allowDomain(text, 'a.b', 'x', { allow_plain_http: true }).change).toBe('replaced');
    expect(allowDomain(text, 'a.b', 'x', { eks_cluster: 'prod' }).change).toBe('replaced');
  });

  test.each([['{ grant: x, eks_cluster: prod }'], ['{ grant: x, eks_cluster: prod, rules: [] }']])(
    'keeps the cluster of %s when its grant changes',
    (entry) => {
      const edit = allowDomain(text(entry), 'a.b', 'y', { eks_cluster: undefined });
      expect(edit.text).toBe(text(entry.replace('x', 'y')));
      expect(allowDomain(text(entry), 'a.b', 'x').change).toBe('unchanged');
      expect(allowDomain('version: 1\n', 'a.b', 'y').text).not.toContain('eks_cluster');
    },
  );

  test('replaces the cluster with another', () => {
    const edit = allowDomain(text('{ grant: x, eks_cluster: prod }'), 'a.b', 'y', { eks_cluster: 'test' });
    expect(edit.text).toBe(text('{ grant: y, eks_cluster: test }'));
  });
});

describe('removing an entry', () => {
  test('removes its lines and no others', () => {
    expect(removeDomain(commented, 'API.github.com')).toMatchObject({
      change: 'removed',
      text: commented.replace('  api.github.com: { grant: github }   # work\n', ''),
    });
    const lines =
      'version: 1\ndomains:\n  a.b:\n    grant: x\n    allow_plain_http: true # why\n  c.d: deny\n';
    expect(removeDomain(lines, 'a.b').text).toBe('version: 1\ndomains:\n  c.d: deny\n');
  });

  test.each([
    ['domains:\n  a.b: deny # why\n  # more\nversion: 1\n', 'domains: {}\n  # more\nversion: 1\n'],
    ['version: 1\ndomains: # words\n  a.b: deny', 'version: 1\ndomains: {} # words\n'],
    ['version: 1\ndomains: { a.b: deny }\n', 'version: 1\ndomains: {  }\n'],
    ['version: 1\ndomains: { a.b: deny, c.d: deny }\n', 'version: 1\ndomains: { c.d: deny }\n'],
    ['version: 1\ndomains: { c.d: deny, a.b: { grant: x } }\n', 'version: 1\ndomains: { c.d: deny }\n'],
    ['version: 1\ndomains: {\n  a.b: deny,\n}\n', 'version: 1\ndomains: {\n  \n}\n'],
  ])('leaves a valid map: %j', (before, after) => {
    expect(removeDomain(before, 'a.b').text).toBe(after);
  });

  test('changes nothing when the entry does not exist', () => {
    expect(removeDomain(commented, 'acme.test')).toEqual({
      text: commented,
      change: 'absent',
      pattern: 'acme.test',
      key: null,
    });
    expect(removeDomain('version: 1\n', 'acme.test').change).toBe('absent');
  });
});

describe('an edit is refused, and the text stays unchanged, for', () => {
  test.each([
    ['an invalid pattern', () => setDomain('version: 1\n', 'https://a.b/', 'deny'), 'input_invalid'],
    ['a wildcard too wide', () => setDomain('version: 1\n', '*.com', 'deny'), 'input_invalid'],
    ['an invalid name', () => allowDomain('version: 1\n', 'a.b', 'x y'), 'input_invalid'],
    ['invalid YAML', () => setDomain('version: [', 'a.b', 'deny'), 'config_invalid'],
    ['a duplicate key', () => setDomain('version: 1\nversion: 1\n', 'a.b', 'deny'), 'config_invalid'],
    ['a string in the place of a map', () => setDomain('domains: deny\n', 'a.b', 'deny'), 'config_invalid'],
    ['a map that is an alias', () => setDomain('a: &x {}\ndomains: *x\n', 'a.b', 'deny'), 'config_invalid'],
    [
      'an entry with an anchor that others use',
      () => removeDomain('domains:\n  a.b: &x { grant: y }\n  c.d: *x\n', 'a.b'),
      'config_invalid',
    ],
    [
      'a document with an explicit end',
      () => setDomain('version: 1\n...\n', 'a.b', 'deny'),
      'config_invalid',
    ],
    ['a key with an anchor', () => setDomain('domains:\n  &x a.b: deny\n', 'c.d', 'deny'), 'config_invalid'],
    [
      'a key in the long form',
      () => setDomain('domains:\n  ? a.b\n  : deny\n', 'c.d', 'deny'),
      'config_invalid',
    ],
  ])('%s', (_, edit, code) => {
    expect(edit).toThrow(expect.objectContaining({ name: 'SidekeyError', code }));
  });
});

describe('setting keys of a provider', () => {
  const client = { clientId: 'Iv1.0123', clientSecret: 'env:GITHUB_SECRET' };

  test('appends keys that are missing and leaves every line unchanged', () => {
    expect(setProvider(commented, 'github', { ...client, settings: { tenant: 'a-b' } })).toEqual({
      changed: ['client_id', 'client_secret', 'settings.tenant'],
      text: `${commented}
providers:
  github:
    client_id: Iv1.0123
    client_secret: env:GITHUB_SECRET
    settings:
      tenant: a-b
`,
    });
  });

  test.each([
    [
      'another provider',
      'providers:\n  other:\n    client_id: x # mine\n',
      'providers:\n  other:\n    client_id: x # mine\n  github:\n    client_id: y\n',
    ],
    [
      'a definition',
      'providers:\n    github:\n        title: G # mine\nlog: {}\n',
      'providers:\n    github:\n        title: G # mine\n        client_id: y\nlog: {}\n',
    ],
    [
      'another client',
      'providers:\n  github:\n    client_id: "x" # mine\n    title: G\n',
      'providers:\n  github:\n    client_id: y # mine\n    title: G\n',
    ],
    [
      'braces',
      'providers: { github: { title: G } } # mine\n',
      'providers: { github: { title: G, client_id: y } } # mine\n',
    ],
    [
      'braces around others',
      'providers: { other: {} }\n',
      'providers: { other: {}, github: { client_id: y } }\n',
    ],
    ['empty braces', 'providers: {} # none\n', 'providers: # none\n  github:\n    client_id: y\n'],
    [
      'empty braces inside',
      'providers:\n  github: {}\n  other: {}\n',
      'providers:\n  github:\n    client_id: y\n  other: {}\n',
    ],
    [
      'an empty line',
      'providers:\n  github:\n  other: {}\n',
      'providers:\n  github:\n    client_id: y\n  other: {}\n',
    ],
    ['CRLF line ends', 'version: 1\r\n', 'version: 1\r\n\r\nproviders:\r\n  github:\r\n    client_id: y\r\n'],
    ['JSON', '{"version": 1}', '{"version": 1, providers: { github: { client_id: y } }}'],
  ])('writes them when the config has %s', (_, before, after) => {
    expect(setProvider(before, 'github', { clientId: 'y' })).toEqual({ text: after, changed: ['client_id'] });
  });

  test('changes nothing when the config has them already', () => {
    const { text } = setProvider(commented, 'github', { ...client, settings: { tenant: 'x' } });
    expect(setProvider(text, 'github', { ...client, settings: { tenant: 'x' } })).toEqual({
      text,
      changed: [],
    });
    expect(setProvider(text, 'github', { clientId: 'other' }).changed).toEqual(['client_id']);
  });

  test('quotes values when YAML would read the plain text as another type', () => {
    const { text } = setProvider('version: 1\n', 'a', { clientId: '123', redirectUri: 'https://a.b/c?d=e' });
    expect(text).toContain('client_id: "123"\n');
    expect(text).toContain('redirect_uri: "https://a.b/c?d=e"\n');
  });

  test.each([
    ['an invalid name', () => setProvider('version: 1\n', 'a: b', client), 'input_invalid'],
    [
      'a string in the place of a map',
      () => setProvider('providers: x\n', 'github', client),
      'config_invalid',
    ],
    [
      'an alias',
      () => setProvider('a: &x {}\nproviders:\n  github: *x\n', 'github', client),
      'config_invalid',
    ],
  ])('%s is refused', (_, edit, code) => {
    expect(edit).toThrow(expect.objectContaining({ name: 'SidekeyError', code }));
  });
});

describe('an entry with rules', () => {
  const ruled = `version: 1
domains:
  api.github.com:
    grant: github # work
    rules: [{ methods: [GET] }] # read only
  api.example.com: { grant: example, mode: report, default: deny }
`;

  test('keeps its rules when its grant changes', () => {
    expect(allowDomain(ruled, 'api.github.com', 'other')).toMatchObject({
      change: 'replaced',
      text: ruled.replace('grant: github', 'grant: other'),
    });
    expect(allowDomain(ruled, 'API.example.com', 'other').text).toBe(
      ruled.replace('grant: example', 'grant: other'),
    );
    expect(allowDomain(ruled, 'api.github.com', 'github').change).toBe('unchanged');
  });

  test('is refused when the change would touch more than the grant', () => {
    expect(() => allowDomain(ruled, 'api.github.com', 'github', { allow_plain_http: true })).toThrow(
      'The entry api.github.com has rules, and allow_plain_http is to be changed.',
    );
    expect(() => allowDomain(ruled, 'api.github.com', 'github', { eks_cluster: 'prod' })).toThrow(
      'The entry api.github.com has rules, and eks_cluster is to be changed.',
    );
  });
});

const withRules = `version: 1
# The map.
domains:
  # GitHub
  api.github.com: # work
    grant: github
    # Order matters.
    rules: # first match
      # Nobody changes settings.
      - { paths: [/settings/**], outcome: deny } # asked by alice
      - name: "odd"   # kept
        methods:
          - GET
        body_size: { max: 1KiB }

      # The rest.
      - { methods: [POST], outcome: approve }
  # Another entry.
  example.org: { grant: other } # mine
  last.example: tunnel
# End.
log: {level: info}
`;

const settings = { paths: ['/settings/**'], outcome: 'deny' };
const odd = { name: 'odd', methods: ['GET'], body_size: { max: '1KiB' } };
const rest = { methods: ['POST'], outcome: 'approve' };

const oddText = `      - name: "odd"   # kept
        methods:
          - GET
        body_size: { max: 1KiB }
`;

const edited = (host: string, entry: EntryMap, text = withRules) => putDomain(text, host, entry);

describe('writing an entry as data', () => {
  test('keeps the text of rules that only move', () => {
    const { text, change } = edited('api.github.com', { grant: 'github', rules: [odd, settings, rest] });
    expect(change).toBe('replaced');
    expect(text).toBe(withRules.replace(oddText, '').replace('      # Nobody', `${oddText}      # Nobody`));
  });

  test('replaces one rule, and keeps the comment above it and all other lines', () => {
    const limits = [{ per: 'agent', rate: '10/1m', burst: 3 }];
    const changed = { methods: ['POST', 'PUT'], json: { '$.amount': { max: 100 } }, limits };
    const { text } = edited('api.github.com', { grant: 'github', rules: [settings, odd, changed] });
    expect(text).toBe(
      withRules.replace(
        '- { methods: [POST], outcome: approve }',
        '- methods: [POST, PUT]\n        json: { $.amount: { max: 100 } }\n        limits: [{ per: agent, rate: 10/1m, burst: 3 }]',
      ),
    );
  });

  test('adds and removes members and rules', () => {
    const { text } = edited('api.github.com', {
      grant: 'github',
      default: 'deny',
      rules: [odd, { methods: ['GET'], require_reason: true }],
    });
    expect(text).toBe(
      withRules
        .replace(
          '      # Nobody changes settings.\n      - { paths: [/settings/**], outcome: deny } # asked by alice\n',
          '',
        )
        .replace(
          '    # Order matters.\n    rules: # first match\n',
          '    default: deny\n    # Order matters.\n    rules: # first match\n',
        )
        .replace(
          '\n      # The rest.\n      - { methods: [POST], outcome: approve }\n',
          '      - { methods: [GET], require_reason: true }\n',
        ),
    );
  });

  test.each([
    [
      'an entry in braces',
      'example.org',
      '  example.org: # mine\n    grant: other\n    rules:\n      - { methods: [GET] }\n',
    ],
    ['a word', 'last.example', '  last.example:\n    grant: other\n    rules:\n      - { methods: [GET] }\n'],
    ['no entry', 'new.example', '  new.example:\n    grant: other\n    rules:\n      - { methods: [GET] }\n'],
  ])('turns %s into a block', (_, host, lines) => {
    const { text } = edited(host, { grant: 'other', rules: [{ methods: ['GET'] }] });
    expect(text).toContain(lines);
    const others = (all: string) =>
      all
        .split('\n')
        .filter((line) => !line.includes(host) && !/^    (grant: other|rules:$)|GET\] \}/.test(line));
    expect(others(text)).toEqual(others(withRules));
  });

  test('changes nothing if the value is the same', () => {
    expect(edited('api.github.com', { grant: 'github', rules: [settings, odd, rest] })).toMatchObject({
      text: withRules,
      change: 'unchanged',
    });
  });

  test.each([
    [
      'CRLF line ends',
      'version: 1\r\ndomains:\r\n  a.b:\r\n    grant: x\r\n    rules:\r\n    - { methods: [GET] }\r\n',
    ],
    ['no line end', 'version: 1\ndomains:\n  a.b:\n    grant: x\n    rules:\n      - methods: [GET]'],
    ['an empty map', 'version: 1\ndomains: {}\n'],
    ['no map', 'version: 1\n'],
    ['JSON', '{"version": 1, "domains": {"a.b": {"grant": "x", "rules": [{"methods": ["GET"]}]}}}'],
    [
      'rules in brackets',
      'version: 1\ndomains:\n  a.b:\n    grant: x\n    rules: [{ methods: [GET] }] # why\n',
    ],
  ])('works in a file with %s', (_, text) => {
    const rules = [{ methods: ['GET'] }, { methods: ['POST'], paths: ['/a: b'] }];
    const { text: after } = edited('a.b', { grant: 'x', rules }, text);
    expect(parseConfigDocument(after).value).toEqual({
      version: 1,
      domains: { 'a.b': { grant: 'x', rules } },
    });
    if (text.includes('\r')) expect(after.replaceAll('\r\n', '')).not.toContain('\n');
  });

  test('is refused if other parts would change', () => {
    const anchored = 'version: 1\ndomains:\n  a.b: &same { grant: x }\n  c.d: *same\n';
    expect(() => edited('a.b', { grant: 'y', rules: [{ methods: ['GET'] }] }, anchored)).toThrow(
      'edited safely',
    );
  });
});

const manyRules = (name: string) => Array.from({ length: 6_000 }, (_, i) => ({ paths: [`/${name}${i}`] }));

test('an entry of 6,000 new rules replaces 6,000 others in linear time', { timeout: 15_000 }, () => {
  const lines = manyRules('a').map(({ paths }) => `      - { paths: [${paths[0]}] }\n`);
  const text = `version: 1\ndomains:\n  a.test:\n    rules:\n${lines.join('')}`;
  expect(putDomain(text, 'a.test', { rules: manyRules('b') }).change).toBe('replaced');
});

test('rules are read as data and as written', () => {
  expect(readDomain(withRules, 'API.github.com')).toEqual({
    entry: { grant: 'github', rules: [settings, odd, rest] },
    rules: [
      '      - { paths: [/settings/**], outcome: deny } # asked by alice\n',
      oddText,
      '      - { methods: [POST], outcome: approve }\n',
    ],
  });
  expect(readDomain(withRules, 'last.example')).toEqual({ entry: 'tunnel', rules: [] });
  expect(readDomain(withRules, 'none.example')).toEqual({ entry: null, rules: [] });
});
