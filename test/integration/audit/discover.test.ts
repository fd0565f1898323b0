/** The output of `audit summary --suggest` is pasted into the config, loaded and applied. */
import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import type { AuditEvent } from '../../../src/domain/event.ts';
import { run } from '../../../src/cli/index.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { decideRequest } from '../../../src/proxy/policy/decide.ts';
import { createDomainMap } from '../../../src/proxy/policy/domain-map.ts';
import { openState } from '../../../src/app/state.ts';
import { home, type Home } from '../../support/command-line.ts';
import { openTunnel } from '../../support/raw-client.ts';
import { factsOf } from '../../support/request-facts.ts';
import { startSidekey } from '../../support/sidekey.ts';
import { startUpstream } from '../../support/upstream.ts';

const silent = { error() {}, warn() {}, info() {}, debug() {} };

async function homeWith(events: readonly Partial<AuditEvent>[], config: object): Promise<Home> {
  const at = await home(config);
  const state = await openState(await loadConfig(at.configFile, { env: {} }), { log: silent, now: Date.now });
  for (const event of events) {
    await state.audit.append({
      event: 'denied',
      outcome: 'deny',
      code: 'rule_denied',
      method: 'GET',
      scheme: 'https',
      host: 'api.acme.test',
      port: 443,
      path: '/user',
      ...event,
    });
  }
  await state.close();
  return at;
}

type Entries = Readonly<Record<string, unknown>>;

/** Pastes what is printed: an entry that stands in the map already is replaced. */
async function paste(configFile: string, printed: string): Promise<void> {
  const config = parse(await readFile(configFile, 'utf8')) as { domains?: Entries };
  const { domains } = parse(printed) as { domains: Entries };
  await writeFile(configFile, stringify({ ...config, domains: { ...config.domains, ...domains } }));
}

/** `allow`, or the code of the refusal. */
async function asker(configFile: string) {
  const { domains } = await loadConfig(configFile, { env: {} });
  const policy = { domains: createDomainMap(domains), unmatched: 'deny' } as const;
  return (request: string) => {
    const [method = '', url = ''] = request.split(' ');
    const decision = decideRequest(policy, factsOf(url, { method }));
    return decision.outcome === 'deny'
      ? decision.code
      : decision.outcome === 'inject'
        ? 'allow'
        : decision.outcome;
  };
}

const ruled = (rules: readonly object[], more: object = {}) => ({
  domains: { 'API.acme.test': { grant: 'acme', rules, ...more } },
});

describe('the YAML lines of audit summary --suggest, pasted into the config,', () => {
  test.each<
    [name: string, config: object, seen: Partial<AuditEvent>[], allowed: string[], refused: string[]]
  >([
    [
      'add to the rules of an entry, which stay as they are',
      ruled([{ methods: ['GET'], paths: ['/v1/**'] }]),
      [{ method: 'POST', path: '/v1/charges' }],
      ['POST https://api.acme.test/v1/charges', 'GET https://api.acme.test/v1/x'],
      ['POST https://api.acme.test/v1/refunds', 'DELETE https://api.acme.test/v1/charges'],
    ],
    [
      'go before the rule that denied',
      ruled([{ methods: ['HEAD'] }, { paths: ['/admin/**'], outcome: 'deny' }, { methods: ['GET'] }]),
      [{ path: '/admin/users' }],
      ['GET https://api.acme.test/admin/users', 'GET https://api.acme.test/', 'HEAD https://api.acme.test/x'],
      ['GET https://api.acme.test/admin/keys', 'POST https://api.acme.test/admin/users'],
    ],
    [
      'take the place of a rule that denied just that',
      ruled([{ methods: ['GET'], paths: ['/admin'], outcome: 'deny' }], { default: 'deny' }),
      [{ path: '/admin' }],
      ['GET https://api.acme.test/admin'],
      ['GET https://api.acme.test/admin/x', 'POST https://api.acme.test/admin'],
    ],
    [
      'go before a policy that denied',
      {
        policies: { closed: [{ paths: ['/a'] }, { paths: ['/x'], outcome: 'deny' }] },
        ...ruled([{ methods: ['PUT'] }, { policy: 'closed' }, { methods: ['GET'] }]),
      },
      [{ method: 'POST', path: '/x' }],
      ['POST https://api.acme.test/x', 'GET https://api.acme.test/y', 'PUT https://api.acme.test/x'],
      ['GET https://api.acme.test/x', 'POST https://api.acme.test/y'],
    ],
    [
      'enforce what was only reported, and allow that',
      ruled([{ methods: ['GET'] }], { mode: 'report' }),
      [
        {
          event: 'policy.reported',
          method: 'DELETE',
          path: '/repos/1',
          reason: 'the request is matched by no rule',
        },
        { event: 'access', outcome: 'allow', code: undefined, method: 'DELETE', path: '/other' },
      ],
      ['DELETE https://api.acme.test/repos/1', 'GET https://api.acme.test/'],
      ['DELETE https://api.acme.test/other'],
    ],
    [
      'are about the one host of a wildcard that was seen',
      { domains: { '*.acme.test': { grant: 'acme', rules: [{ methods: ['GET'] }] } } },
      [{ method: 'POST', path: '/v1/x' }],
      ['POST https://api.acme.test/v1/x', 'GET https://api.acme.test/', 'GET https://www.acme.test/'],
      ['POST https://www.acme.test/v1/x', 'POST https://api.acme.test/v1/y'],
    ],
    [
      'are an entry of their own for a host that is not in the map, asked for in both schemes',
      {},
      [
        { code: 'domain_not_allowed', path: '/a' },
        { code: 'domain_not_allowed', path: '/b', scheme: 'http', port: 80 },
      ],
      ['GET https://api.acme.test/a', 'GET http://api.acme.test/b'],
      ['GET https://api.acme.test/c', 'GET https://api.acme.test:8443/a', 'POST https://api.acme.test/a'],
    ],
    [
      'let an entry without rules be asked over http',
      { domains: { 'api.acme.test': { grant: 'acme' } } },
      [{ code: 'insecure_transport', scheme: 'http', port: 80 }],
      ['GET http://api.acme.test/user', 'POST https://api.acme.test/x'],
      ['GET https://www.acme.test/user'],
    ],
    [
      'say nothing of paths that no rule with paths lets through',
      ruled([{ methods: ['GET'], paths: ['/v1/**'] }]),
      [{ path: '/v2/x' }, { path: '/v2//y' }, { path: '/v2/%2e%2e/z' }],
      ['GET https://api.acme.test/v2/x', 'GET https://api.acme.test/v1/x'],
      ['GET https://api.acme.test/v2//y', 'GET https://api.acme.test/v2/z'],
    ],
  ])('%s', async (_, config, seen, allowed, refused) => {
    const at = await homeWith(seen, config);
    const before = await asker(at.configFile);
    const { stdout, exit } = await at.run(['audit', 'summary', '--suggest']);
    expect(exit).toBe(0);
    await paste(at.configFile, stdout);
    const after = await asker(at.configFile);
    expect(allowed.map(after), stdout).toEqual(allowed.map(() => 'allow'));
    expect(refused.map(after), stdout).not.toContain('allow');
    // At least one of them was refused before, or would have been.
    if (!JSON.stringify(config).includes('report'))
      expect(allowed.map(before)).not.toEqual(allowed.map(after));
    expect(await at.run(['audit', 'summary', '--suggest'])).toMatchObject({
      stdout: 'Nothing was refused that an entry of the domain map would allow.\n',
    });
  });

  test('name the hosts, and leave the decision to a person', async () => {
    const at = await homeWith(
      [
        { event: 'policy.reported', method: 'POST', path: '/graphql', agent: 'ci' },
        { method: 'POST', path: '/a//b' },
      ],
      ruled([{ paths: ['/graphql'], graphql: { types: ['query'] } }], { mode: 'report' }),
    );
    const { stdout, stderr } = await at.run(['audit', 'summary', '--suggest']);
    expect(stdout.replace(/last \S+/, 'last TIME')).toBe(
      [
        'domains:',
        '  # 1 × rule_denied, 1 × rule_denied, only reported, by ci, last TIME',
        '  # replaces domains["API.acme.test"] (config/sidekey.yaml:5)',
        '  # its rules only report now; these lines enforce them',
        '  # its rules read bodies, which the audit log does not contain: make the lines narrower',
        '  # left out: 1 path that servers read in different ways',
        '  API.acme.test:',
        '    grant: acme',
        '    rules:',
        '      - paths:',
        '          - /graphql',
        '        graphql:',
        '          types:',
        '            - query',
        '      - methods:',
        '          - POST',
        '        paths:',
        '          - /graphql',
        '',
      ].join('\n'),
    );
    expect(stderr).toContain('replace the old one with it');
    expect(await at.json(['audit', 'summary', '--suggest'])).toMatchObject({
      hosts: [
        {
          refusals: { rule_denied: 1 },
          reports: { rule_denied: 1 },
          listed: true,
          replaces: 'domains["API.acme.test"] (config/sidekey.yaml:5)',
        },
      ],
      config: [{ 'API.acme.test': { grant: 'acme' } }],
    });
  });
});

test('name answers that may have given a credential, and that no row covers', async () => {
  const mints = [{ name: 'a', path: '/v1/tokens', member: 'token', goes_to: ['api.acme.test'] }];
  const answered = { event: 'outcome', outcome: 'ok', code: undefined, status: 201, grant: 'id' } as const;
  const at = await homeWith(
    [
      { ...answered, method: 'POST', path: '/v1/projects/7/api-keys', bytes_out: 90 },
      { ...answered, method: 'POST', path: '/v1/projects/8/api-keys', bytes_out: 90 },
      // A row, a refusal, a long answer, and another path.
      { ...answered, method: 'POST', path: '/v1//Tokens', bytes_out: 90 },
      { ...answered, method: 'POST', path: '/v1/api-keys', status: 403, bytes_out: 90 },
      { ...answered, path: '/v1/secrets', bytes_out: 100_000 },
      { ...answered, path: '/v1/tokenizers', bytes_out: 90 },
    ],
    { domains: { 'api.acme.test': { grant: 'acme', mints } } },
  );
  expect(await at.json(['audit', 'summary', '--suggest'])).toMatchObject({
    credentials: [{ method: 'POST', host: 'api.acme.test', path: '/v1/projects/*/api-keys', times: 2 }],
  });
  const { stderr } = await at.run(['audit', 'summary', '--suggest']);
  expect(stderr).toContain('POST api.acme.test/v1/projects/*/api-keys may have given credentials');
});

test('requests that a running proxy reported become rules, and the rules apply from the next request on', async () => {
  const upstream = await startUpstream((_request, response) => response.end('ok'));
  const reporting = { grant: 'acme', mode: 'report', rules: [{ methods: ['GET'], paths: ['/repos/**'] }] };
  const sidekey = await startSidekey({ domains: { [upstream.authority]: reporting } });
  await sidekey.grant([upstream.authority]);
  const client = await openTunnel(sidekey, upstream.authority);
  const ask = async (request: string) => {
    client.send(`${request} HTTP/1.1\r\nHost: ${upstream.authority}\r\nContent-Length: 0\r\n\r\n`);
    return (await client.response()).status;
  };
  expect(await ask('POST /repos/1/issues')).toBe(200);
  await sidekey.audited(({ event }) => event === 'outcome');
  let stdout = '';
  await run(['audit', 'summary', '--suggest', '--config', sidekey.configFile], {
    env: {},
    stdin: process.stdin,
    stdout: { write: (text: string) => ((stdout += text), true) },
    stderr: { write: () => true },
  });
  await paste(sidekey.configFile, stdout);
  await sidekey.proxy.reload();
  expect(await ask('POST /repos/1/issues')).toBe(200);
  expect(await ask('GET /repos/1')).toBe(200);
  expect(await ask('POST /repos/2/issues')).toBe(403);
});
