import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { operationOf } from '../../../src/agents/approvals/operation.ts';
import { serviceSkill } from '../../../src/cli/service-skill.ts';
import { openCatalog } from '../../../src/config/catalog.ts';
import { parseConfig } from '../../../src/config/load.ts';
import { failures } from '../../../src/lib/failures.ts';
import { parseAuthority } from '../../../src/proxy/policy/authority.ts';
import { isPattern, matchesPattern, parsePattern } from '../../../src/proxy/policy/domain-map.ts';
import { missingIn, readApi } from '../../../tools/operations.ts';
import { wordsOf } from '../../support/doc-commands.ts';
import { home } from '../../support/command-line.ts';

/** The services that are used most, with the sample company. */
const services = [
  'acme',
  'airtable',
  'anthropic',
  'confluence',
  'discord',
  'github',
  'gitlab',
  'gmail',
  'google',
  'google-calendar',
  'google-drive',
  'hubspot',
  'jira',
  'linear',
  'microsoft',
  'notion',
  'openai',
  'salesforce',
  'sentry',
  'slack',
  'stripe',
];

const load = (extra: string) => parseConfig(`version: 1\n${extra}`, '/etc/sidekey/sidekey.yaml', { env: {} });

const settings = 'providers: { salesforce: { settings: { org_host: acme.my.salesforce.com } } }\n';
const config = await load(settings);
const catalog = await openCatalog();

test('every service of the catalog with operations is listed', () => {
  const found = catalog.names.filter((name) => catalog.get(name)?.definition.operations !== undefined);
  expect(found).toEqual([...services, 'jira-token'].toSorted());
});

/** Calls of the skill: the words, the method and the address. */
const lines = (skill: string) =>
  Array.from(
    skill.matchAll(/^- ([^:`]+): `([A-Z]+) (https:\/\/\S+)`/gm),
    ([, words = '', method = '', url = '']) => ({
      words,
      method,
      url: new URL(url.replaceAll(/\{.*?\}/g, 'x')),
    }),
  );

test.each(services)('the skill of %s names only hosts, paths and scopes that the provider has', (name) => {
  const provider = config.providers.get(name)!;
  const skill = serviceSkill(provider, null);
  const audience = provider.audience.map(parsePattern).filter(isPattern);
  const calls = lines(skill);
  expect(calls).toHaveLength(provider.operations.length);
  for (const { words, method, url } of calls) {
    const authority = parseAuthority(url.host, 'https')!;
    expect(
      audience.some((pattern) => matchesPattern(pattern, authority)),
      url.href,
    ).toBe(true);
    // An earlier row that covers it would show other words to the person who approves it.
    expect(operationOf(method, url.host, url.pathname, provider), url.href).toBe(words);
  }
  const known = provider.knownScopes.map((scope) => scope.name);
  const scopes = provider.operations.flatMap((operation) => operation.scopes ?? []);
  expect(scopes.filter((scope) => !known.includes(scope))).toEqual([]);
  for (const { example, method } of provider.operations) {
    if (example?.startsWith('{') === true) expect(JSON.parse(example)).toBeTypeOf('object');
    else if (example !== undefined && method === 'GET')
      expect(new URLSearchParams(example).size).toBeGreaterThan(0);
  }
});

test.each(services)('the skill of %s has the form that agents read, and is short', (name) => {
  const skill = serviceSkill(config.providers.get(name)!, []);
  const [, front = ''] = /^---\n([^]*?)\n---\n/.exec(skill) ?? [];
  const { name: title, description } = parse(front) as { name: string; description: string };
  expect(title).toBe(`sidekey-${name}`);
  expect(description.length).toBeLessThanOrEqual(1_024);
  expect(skill.split('\n').length).toBeLessThanOrEqual(120);
  expect(skill).not.toMatch(/%\w+%|undefined/);
});

test.each(services)('every command in the skill of %s exists', async (name) => {
  const skill = serviceSkill(config.providers.get(name)!, []);
  const commands = [...skill.matchAll(/^(?=sidekey ).*$|(?<=`)sidekey [^`]+/gm)].map(([line]) => line);
  expect(commands.length).toBeGreaterThan(2);
  const at = await home();
  for (const command of commands) {
    const [first = '', second = ''] = wordsOf(command);
    const words = first === 'domain' ? [first, second] : [first];
    expect((await at.run([...words, '--help'])).stdout, command).toMatch(`Usage: sidekey ${words.join(' ')}`);
  }
});

test('the codes in the skill are codes of Sidekey', () => {
  const skill = serviceSkill(config.providers.get('openai')!, null);
  const codes = [...skill.matchAll(/`([a-z]+_[a-z_]+)`/g)].map(([, code]) => code);
  expect(codes).toEqual(['approval_denied', 'approval_missing']);
  expect(Object.keys(failures)).toEqual(expect.arrayContaining(codes));
});

const rules = `
domains:
  api.github.com:
    grant: github
    rules: RULES
`;
const ruled = async (list: string) => {
  const { providers, domains } = await load(rules.replace('RULES', list));
  return serviceSkill(providers.get('github')!, domains);
};

test.each([
  ['[{ methods: [GET] }]', 'GET', "sidekey fetch 'https://api.github.com/user'"],
  [
    '[{ methods: [POST], paths: [/user/repos] }]',
    'POST',
    "sidekey fetch 'https://api.github.com/user/repos'",
  ],
  [
    '[{ paths: [/repos/acme/**] }]',
    'a path with unknown names',
    "sidekey fetch 'https://api.github.com/user'",
  ],
])('with the rules %s the first example is %s', async (list, _what, command) => {
  expect((await ruled(list)).split('```sh\n')[1]?.split('\n')[1]).toMatch(command);
});

test('a request that the rules refuse or hold is no example', async () => {
  const skill = await ruled('[{ methods: [GET] }, { methods: [POST], outcome: approve }]');
  expect(skill.split('```')[1]?.match(/sidekey fetch/g)).toHaveLength(1);
});

test('the rules are those of a caller without a token, and name no agent', async () => {
  const skill = await ruled(
    '[{ methods: [GET] }, { methods: [POST], outcome: approve }, { agents: [ci-bot], paths: [/user] }]',
  );
  expect(skill).toContain('methods GET: allowed');
  expect(skill).toContain('methods POST: waits until a person has said yes');
  expect(skill).toContain('anything else: refused (rule_denied)');
  expect(skill).not.toContain('ci-bot');
});

test.each([
  ['domains: {}', 'no credential; ask for `sidekey domain allow api.github.com --grant github`'],
  ['domains: { api.github.com: deny }', 'no credential; ask for'],
  ['domains: { api.github.com: { grant: github } }', '`api.github.com`: everything is allowed'],
])('%s is described as: %s', async (text, sentence) => {
  const { providers, domains } = await load(text);
  expect(serviceSkill(providers.get('github')!, domains)).toContain(sentence);
});

test('of the fields of a probe only those that name a version are in the examples', async () => {
  const { providers } = await load(`providers:
  own:
    audience: [api.acme.test]
    token: { label: key, steps: [Make one.] }
    probe: { url: 'https://api.acme.test/', headers: { Acme-Version: '7', X-Gateway: hidden-key } }
    operations: [{ method: GET, path: '/{id}/**', words: look }]
`);
  const skill = serviceSkill(providers.get('own')!, null);
  expect(skill).toContain("sidekey fetch 'https://api.acme.test/ID/**' -H 'Acme-Version: 7'");
  expect(skill).not.toContain('hidden-key');
});

const openapi = {
  servers: [{ url: 'https://api.acme.test/v1/' }],
  paths: { '/tickets/{ticket_id}': { get: {}, patch: {} } },
};
const google = {
  rootUrl: 'https://www.acme.test/',
  servicePath: 'drive/v3/',
  resources: {
    files: {
      methods: {
        create: {
          httpMethod: 'POST',
          path: 'files',
          mediaUpload: { protocols: { simple: { path: '/upload/drive/v3/files' } } },
        },
      },
    },
  },
};

test.each([
  ['GET', 'api.acme.test', '/v1/tickets/{id}', []],
  ['DELETE', 'api.acme.test', '/v1/tickets/{id}', ['DELETE api.acme.test/v1/tickets/{}']],
  ['GET', 'api.acme.test', '/v1/ticket/{id}', ['GET api.acme.test/v1/ticket/{}']],
  ['POST', 'www.acme.test', '/drive/v3/files', []],
  ['POST', 'www.acme.test', '/upload/drive/v3/files', []],
  ['GET', 'www.acme.test', '/drive/v3/files', ['GET www.acme.test/drive/v3/files']],
  ['GET', 'other.acme.test', '/v1/anything', []],
])('the comparison with descriptions reports %s %s%s: %j', (method, host, path, missing) => {
  const apis = [openapi, google].map((description) => readApi(JSON.stringify(description)));
  expect(missingIn(apis, [{ method, host, path, words: 'look' }], 'api.acme.test')).toEqual(missing);
});
