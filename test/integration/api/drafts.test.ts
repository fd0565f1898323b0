/** Config texts that are not written: previews, explanations, tests and replays. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { AuditEvent } from '../../../src/domain/event.ts';
import { callerAtMachine } from '../../../src/operations/caller.ts';
import { replayConfig } from '../../../src/operations/replay.ts';
import { oauth2Credential } from '../../support/oauth2-credential.ts';
import { startService, type TestService } from '../../support/service.ts';

const host = 'api.example.com';

const provider = (reference: string) => ({
  token_endpoint: 'https://a.example/token',
  audience: [host],
  client_id: 'x',
  client_secret: reference,
});

async function draftOf({ call }: TestService, rules: readonly object[], more = {}): Promise<string> {
  const { text } = (await call('GET /v2/config')).body;
  const entry = { grant: 'desk', rules, ...more };
  const preview = await call('POST /v2/domains/preview', { body: { text, host, action: 'grant', entry } });
  return preview.body.text;
}

test('a preview returns the text, the entry and its rules', async () => {
  const { call } = await startService();
  const text = 'version: 1\ndomains:\n  # mine\n  a.b: deny\n';
  const preview = async (more: object) =>
    (await call('POST /v2/domains/preview', { body: { text, ...more } })).body;
  const entry = { grant: 'desk', rules: [{ methods: ['GET'] }] };
  const written = `${text}  ${host}:\n    grant: desk\n    rules:\n      - { methods: [GET] }\n`;
  expect(await preview({ host, action: 'grant', entry })).toEqual({
    text: written,
    change: 'added',
    entry,
    rules: ['      - { methods: [GET] }\n'],
  });
  expect(await preview({ text: written, host, action: 'read' })).toMatchObject({
    change: 'unchanged',
    entry,
  });
  expect(await preview({ host, action: 'read' })).toMatchObject({ entry: null, rules: [] });
  expect(await preview({ host: 'a.b', action: 'remove' })).toMatchObject({ change: 'removed', entry: null });
});

test('a check of a text returns its difference from the file', async () => {
  const { call } = await startService();
  const { text } = (await call('GET /v2/config')).body;
  const { body } = await call('POST /v2/config/check', { body: { text: `# new\n${text}` } });
  expect(body.diff).toContain('\n+# new\n');
});

describe('an explanation of a draft', () => {
  test('decides by the text, and the proxy keeps its config', async () => {
    const service = await startService({ domains: { [host]: { grant: 'desk' } } });
    await service.sidekey.grant([host], { name: 'desk' });
    const text = await draftOf(service, [{ methods: ['DELETE'] }]);
    const explain = async (more: object) =>
      (await service.call('POST /v2/explain', { body: { url: `https://${host}/x`, ...more } })).body;
    expect(await explain({ text })).toMatchObject({ allowed: false, code: 'rule_denied' });
    expect(await explain({})).toMatchObject({ allowed: true });
    const cases = `- request: GET https://${host}/x\n  expect: deny\n`;
    const passed = async (more: object) =>
      (await service.call('POST /v2/config/test', { body: { cases, ...more } })).body.passed;
    expect([await passed({ text }), await passed({})]).toEqual([1, 0]);
  });

  test.each(['file:missing.txt', 'env:SIDEKEY_MISSING'])('does not read %s', async (reference) => {
    const config = { providers: { acme: provider(reference) } };
    const service = await startService({ domains: { [host]: { grant: 'desk' } }, config });
    const credential = oauth2Credential({ accessToken: null, refreshToken: 'r' });
    await service.sidekey.grant([host], { name: 'desk', credential });
    // The explanation is then not that of the proxy that reads the secret.
    await service.sidekey.configure({
      ...config,
      proxy: { listen: '127.0.0.1:1' },
      admin: { listen: '127.0.0.1:0' },
    });
    const { text } = (await service.call('GET /v2/config')).body;
    const explain = async (more: object) =>
      (await service.call('POST /v2/explain', { body: { url: `https://${host}/x`, ...more } })).body;
    expect(await explain({})).toMatchObject({ allowed: false, code: 'refresh_failed' });
    expect(await explain({ text: `${text}# draft\n` })).toMatchObject({ allowed: true });
  });
});

/** Appends events of requests that ended. */
async function logged({ sidekey }: TestService, events: readonly Partial<AuditEvent>[]): Promise<void> {
  for (const event of events) {
    const usual = {
      event: 'outcome',
      outcome: 'ok',
      method: 'GET',
      scheme: 'https',
      host,
      path: '/users',
    } as const;
    await sidekey.proxy.state.audit.append({ ...usual, ...event });
  }
}

describe('a replay', () => {
  test('lists the requests of the log that a draft decides in another way', async () => {
    const service = await startService({ domains: { [host]: { grant: 'desk' } } });
    await logged(service, [
      { agent: 'ci', exchange: 'e1' },
      { agent: 'ci', method: 'DELETE', path: '/users/17', exchange: 'e2' },
      { agent: 'ci', method: 'DELETE', path: '/users/18', exchange: 'e3' },
      { event: 'access', outcome: 'allow', agent: 'ci', exchange: 'e4' },
      {
        event: 'denied',
        outcome: 'deny',
        code: 'domain_not_allowed',
        host: 'new.example.com',
        method: 'CONNECT',
        path: undefined,
      },
    ]);
    const replay = async (text: string, more = {}) =>
      (await service.call('POST /v2/config/replay', { body: { text, ...more } })).body;
    const text = await draftOf(service, [{ methods: ['GET'] }, { methods: ['DELETE'], outcome: 'approve' }]);
    const same = { agent: 'ci', host, method: 'DELETE', path: '/users/*' };
    expect(await replay(text)).toEqual({
      requests: 4,
      changed: 2,
      unknown: 0,
      complete: true,
      groups: [{ ...same, before: 'allow', after: 'approve', count: 2, sample: 'e3' }],
    });
    const listed = { text, host: 'new.example.com', action: 'tunnel' };
    const added = (await service.call('POST /v2/domains/preview', { body: listed })).body.text;
    expect((await replay(added)).groups).toHaveLength(2);
    // A CONNECT does not name the request inside.
    const entry = { grant: 'desk', rules: [{ methods: ['GET'] }] };
    const ruled = (
      await service.call('POST /v2/domains/preview', { body: { ...listed, action: 'grant', entry } })
    ).body;
    expect(await replay(ruled.text)).toMatchObject({ changed: 3, unknown: 1 });
    expect(await replay(text, { since: new Date(Date.now() + 1_000).toISOString() })).toMatchObject({
      requests: 0,
    });
    // The file itself changes nothing.
    expect(await replay((await service.call('GET /v2/config')).body.text)).toMatchObject({ changed: 0 });
  });

  test.each([
    ['a body', { json: { '$.amount': { max: 9 } } }, 'unknown'],
    ['a query', { query: { state: ['open'] } }, 'unknown'],
    ['labels', { labels: ['prod'] }, 'unknown'],
    ['a content type', { content_types: ['text/plain'] }, 'unknown'],
    ['a body and another method', { methods: ['PUT'], json: { '$.amount': { max: 9 } } }, 'deny'],
    ['an agent', { agents: ['ci'] }, 'allow'],
    ['a body, in report mode', { json: { '$.a': ['b'] }, outcome: 'deny', mode: 'report' }, 'allow'],
    ['a body, with the same outcome as the default', { json: { '$.a': ['b'] }, default: 'allow' }, 'allow'],
  ])(
    'of rules about %s',
    async (_, { default: otherwise, mode, ...rule }: Record<string, unknown>, effect) => {
      const service = await startService({ domains: { [host]: 'deny' } });
      await logged(service, [{ agent: 'ci', method: 'POST' }]);
      const text = await draftOf(service, [rule], {
        ...(otherwise ? { default: otherwise } : {}),
        ...(mode ? { mode } : {}),
      });
      const { body } = await service.call('POST /v2/config/replay', { body: { text } });
      const { groups, unknown } = body;
      expect([groups[0]?.after ?? 'deny', unknown]).toEqual([effect, effect === 'unknown' ? 1 : 0]);
    },
  );

  let clock = 0;
  test.each([
    ['200,000 requests', 200_001, () => 0, 200_000],
    ['5 seconds', 3, () => (clock += 3_000), 1],
  ])(
    'ends after %s, and decides on at most 64 in one turn of the event loop',
    async (_, count, now, requests) => {
      const { sidekey } = await startService({ domains: { [host]: 'deny' } });
      const file = join(sidekey.folder, 'long.jsonl');
      const at = Date.now();
      const time = new Date(at - 60_000).toISOString();
      const line = {
        v: 1,
        seq: 1,
        time,
        node: 'n',
        event: 'denied',
        method: 'GET',
        host,
        path: '/',
        prev: '',
        hash: '',
      };
      await writeFile(file, `${JSON.stringify(line)}\n`.repeat(count));
      const config = { ...sidekey.proxy.config(), audit: { ...sidekey.proxy.config().audit, file } };
      const decided = { inTurn: 0, most: 0 };
      const counted = () => {
        decided.most = Math.max(decided.most, (decided.inTurn += 1));
        return now();
      };
      const parts = { config, now: counted, caller: callerAtMachine('test') };
      const text = await readFile(sidekey.configFile, 'utf8');
      const turn = () => {
        decided.inTurn = 0;
        next = setImmediate(turn);
      };
      let next = setImmediate(turn);
      const read = await replayConfig.run(parts as never, { text }, at);
      clearImmediate(next);
      expect(read).toMatchObject({ requests, complete: false });
      expect(decided.most).toBeLessThanOrEqual(64);
    },
  );
});
