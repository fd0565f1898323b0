import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import type { AuditEvent } from '../../../src/domain/event.ts';
import { openState } from '../../../src/app/state.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { home, type Home } from '../../support/command-line.ts';

const silent = { error() {}, warn() {}, info() {}, debug() {} };

/** A log with these events. */
async function homeWith(events: readonly AuditEvent[], config: object = {}): Promise<Home> {
  const at = await home(config);
  const state = await openState(await loadConfig(at.configFile, { env: {} }), { log: silent, now: Date.now });
  for (const event of events) await state.audit.append(event);
  await state.close();
  return at;
}

const request = (more: Partial<AuditEvent>): AuditEvent => ({
  event: 'access',
  method: 'GET',
  scheme: 'https',
  host: 'api.acme.test',
  port: 443,
  path: '/user',
  ...more,
});

const exchanges: readonly AuditEvent[] = [
  request({ agent: 'ci', exchange: 'x1', user: 'alice', provider: 'acme', lease: 'l1', outcome: 'allow' }),
  { event: 'outcome', exchange: 'x1', outcome: 'ok', bytes_in: 3, bytes_out: 7, duration_ms: 10 },
  request({ agent: 'ci', exchange: 'x2', user: 'bob', provider: 'other', outcome: 'allow' }),
  {
    event: 'outcome',
    exchange: 'x2',
    outcome: 'failed',
    code: 'upstream_timeout',
    duration_ms: 1_000,
  },
  request({
    agent: 'ci',
    exchange: 'x3',
    event: 'denied',
    outcome: 'deny',
    code: 'rule_denied',
    path: '/admin',
  }),
  request({
    agent: '=cmd|x',
    exchange: 'x4',
    event: 'denied',
    outcome: 'deny',
    code: 'domain_not_allowed',
    reason: 'a "b", c',
  }),
];

const lines = (stdout: string) => stdout.split('\n').filter((line) => line !== '');

describe('audit query', () => {
  test.each([
    [
      ['--user', 'alice'],
      ['x1', 'x1'],
    ],
    [
      ['--provider', 'other'],
      ['x2', 'x2'],
    ],
    [
      ['--outcome', 'deny'],
      ['x3', 'x4'],
    ],
    [
      ['--lease', 'l1'],
      ['x1', 'x1'],
    ],
    [
      ['--exchange', 'x2'],
      ['x2', 'x2'],
    ],
    [['--code', 'rule_denied', '--agent', 'ci'], ['x3']],
    [['--outcome', 'ok', '--user', 'bob'], []],
    [['--outcome', 'ok', '--user', 'alice', '--event', 'outcome'], ['x1']],
  ])('%j gives %j', async (args, expected) => {
    const at = await homeWith(exchanges);
    const { stdout } = await at.run(['audit', 'query', ...args, '--json']);
    expect(lines(stdout).map((line) => (JSON.parse(line) as AuditEvent).exchange)).toEqual(expected);
  });

  test('writes CSV that a spreadsheet does not evaluate as formulas', async () => {
    const at = await homeWith(exchanges);
    const { stdout, exit } = await at.run(['audit', 'query', '--csv']);
    const rows = stdout.split('\r\n');
    expect(exit).toBe(0);
    expect(rows[0]).toMatch(/^seq,time,node,event,exchange,agent,.*,prev,hash$/);
    expect(rows).toHaveLength(exchanges.length + 4);
    expect(rows[8]).toContain(",denied,x4,'=cmd|x,");
    expect(rows[8]).toContain(',"a ""b"", c",');
    expect(await at.run(['audit', 'query', '--csv', '--json'])).toMatchObject({ exit: 2 });
  });
});

describe('audit summary', () => {
  test('counts for each agent and grant', async () => {
    const at = await homeWith(exchanges);
    const rows = (await at.json(['audit', 'summary'])) as Record<string, unknown>[];
    expect(rows).toEqual([
      {
        agent: 'ci',
        grant: null,
        grant_name: null,
        requests: 2,
        refusals: 1,
        failures: 1,
        bytes_in: 3,
        bytes_out: 7,
        p50_ms: expect.closeTo(10, 0) as number,
        p99_ms: expect.closeTo(1_000, -2) as number,
        last_use: expect.any(String) as string,
      },
      expect.objectContaining({ agent: '=cmd|x', requests: 0, refusals: 1, p50_ms: null }),
    ]);
    const { stdout } = await at.run(['audit', 'summary', '--agent', 'ci']);
    expect(stdout).toMatch(/^AGENT {2}GRANT {2}REQUESTS .+\nci {5}- {6}2 {9}1 {8}1 .+\d\n$/);
    expect((await at.run(['audit', 'summary', '--agent', 'nobody'])).stdout).toBe('No requests found.\n');
  });
});

describe('audit summary --json', () => {
  test('shows the name of a grant beside its ID, as long as the grant exists', async () => {
    const at = await home();
    await at.grant('work', { type: 'api_key', value: 'secret' });
    const [{ id } = { id: '' }] = (await at.json(['grant', 'list'])) as { id: string }[];
    const state = await openState(await loadConfig(at.configFile, { env: {} }), {
      log: silent,
      now: Date.now,
    });
    await state.audit.append(request({ exchange: 'x1', grant: id, outcome: 'allow' }));
    await state.close();
    expect(await at.json(['audit', 'summary'])).toMatchObject([{ grant: id, grant_name: 'work' }]);
    await at.run(['grant', 'remove', 'work', '--local']);
    expect(await at.json(['audit', 'summary'])).toMatchObject([{ grant: id, grant_name: null }]);
  });
});

describe('audit query --raw and --output', () => {
  test('writes the lines byte for byte, to a new private file or to stdout', async () => {
    const at = await homeWith(exchanges);
    const text = readFileSync(at.at('data', 'audit.jsonl'), 'utf8');
    expect((await at.run(['audit', 'query', '--raw'])).stdout).toBe(text);
    const file = at.at('out.jsonl');
    const ran = await at.run(['audit', 'query', '--outcome', 'deny', '-o', file]);
    expect(ran.stdout).toContain('Wrote 2 lines to');
    expect(readFileSync(file, 'utf8')).toBe(text.split('\n').slice(6, 8).join('\n').concat('\n'));
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(await at.run(['audit', 'query', '-o', file])).toMatchObject({ exit: 2 });
    expect((await at.run(['audit', 'query', '--csv', '--code', 'none'])).stdout).toMatch(/^seq,.*\r\n$/);
  });
});

describe('audit verify --write-anchor', () => {
  test('prints anchors that detect a log restored from an older copy, read from a file or from stdin', async () => {
    const at = await homeWith(exchanges);
    const names = [at.at('data', 'audit.jsonl'), at.at('data', 'audit.jsonl.head')];
    const older = names.map((name) => readFileSync(name));
    await at.run(['domain', 'tunnel', 'example.org']);
    const { stdout: anchor } = await at.run(['audit', 'verify', '--write-anchor', '-']);
    expect(lines(anchor)).toHaveLength(1);
    const file = at.at('anchors.jsonl');
    expect(await at.run(['audit', 'verify', '--write-anchor', file])).toMatchObject({ exit: 0 });
    writeFileSync(file, anchor, { flag: 'a' });
    expect(lines(readFileSync(file, 'utf8'))).toHaveLength(2);
    expect(await at.run(['audit', 'verify', '--anchor', file])).toMatchObject({ exit: 0 });
    names.forEach((name, index) => writeFileSync(name, older[index] ?? ''));
    expect(await at.run(['audit', 'verify'])).toMatchObject({ exit: 1 });
    const cut = await at.run(['audit', 'verify', '--anchor', '-'], { input: anchor });
    expect(cut).toMatchObject({ exit: 1, stdout: expect.stringContaining('names line 9 of') as string });
    for (const name of names) rmSync(name);
    expect(await at.run(['audit', 'verify', '--anchor', file])).toMatchObject({ exit: 1 });
    const changed = await at.run(['audit', 'verify', '--anchor', '-'], {
      input: anchor.replace('"seq":9', '"seq":8'),
    });
    expect(changed).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('no anchor of this log') as string,
    });
    expect(await at.run(['audit', 'verify', '--anchor', at.at('none')])).toMatchObject({ exit: 2 });
  });
});

describe('audit summary --suggest', () => {
  test('prints YAML entries that allow exactly the requests in the log', async () => {
    const unlisted = (path: string, method = 'GET') =>
      request({
        event: 'denied',
        code: 'domain_not_allowed',
        host: 'api.other.test',
        agent: 'ci',
        path,
        method,
      });
    const at = await homeWith(
      [
        ...Array.from({ length: 20 }, (_, n) => unlisted(`/repos/${n}/issues`)),
        unlisted('/gra%70hql', 'POST'),
        request({
          event: 'denied',
          code: 'domain_not_allowed',
          host: 'tls.test',
          port: 8443,
          method: 'CONNECT',
          path: undefined,
        }),
        request({ event: 'tunnel', host: 'seen.test', method: 'CONNECT', path: undefined }),
        request({ event: 'tunnel', host: 'listed.test', method: 'CONNECT', path: undefined }),
        request({ event: 'denied', code: 'grant_expired', host: 'expired.test' }),
      ],
      { domains: { 'listed.test': 'tunnel' } },
    );
    const { stdout, stderr } = await at.run(['audit', 'summary', '--suggest']);
    expect(parse(stdout)).toEqual({
      domains: {
        'api.other.test': {
          grant: 'GRANT',
          rules: [
            { methods: ['GET'], paths: ['/repos/*/issues'] },
            { methods: ['POST'], paths: ['/graphql'] },
          ],
        },
        'tls.test:8443': 'tunnel',
        'seen.test': 'tunnel',
      },
    });
    expect(stdout).toContain('# 21 × domain_not_allowed, by ci, last 20');
    expect(stderr).toContain('Replace GRANT with');
    writeFileSync(
      at.configFile,
      `${readFileSync(at.configFile, 'utf8').replace(/^domains:[^]*?(?=^\S)|^domains:[^]*/m, '')}${stdout.replace('GRANT', 'acme')}`,
    );
    expect(await at.run(['audit', 'summary', '--suggest', '--agent', 'nobody'])).toMatchObject({ exit: 0 });
  });
});
