/** `explain` reports the codes and sentences of the running proxy for agents, leases, grants and rules. */
import { Readable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { dateTime } from '../../../src/operations/format.ts';
import { run } from '../../../src/cli/index.ts';
import { everything, type Binding } from '../../../src/domain/lease.ts';
import { hashToken } from '../../../src/agents/authentication.ts';
import type { LeaseRecord } from '../../../src/store/store.ts';
import { openClient, problemOf } from '../../support/raw-client.ts';
import { addAgent, leaseRecord } from '../../support/rights.ts';
import { startSidekey } from '../../support/sidekey.ts';
import { startUpstream } from '../../support/upstream.ts';

const start = Date.parse('2026-11-20T09:00:00Z');

interface Explained {
  readonly allowed: boolean;
  readonly held: boolean;
  readonly code?: string;
  readonly message?: string;
  readonly hint?: string;
  readonly outcome: string;
  readonly steps: readonly { readonly step: string; readonly ok: boolean; readonly text: string }[];
}

/**
 * A proxy that runs, with two grants, an agent and a lease; and `explain` beside it, at the same time of day.
 */
async function setup(
  domain: object = {},
  bindings: readonly Binding[] = [everything],
  config: Record<string, object> = {},
) {
  const upstream = await startUpstream((request, response) => {
    request.resume();
    response.end('ok');
  });
  let time = start;
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'acme', ...domain } },
    now: () => time,
    config,
  });
  const { store } = sidekey.proxy.state;
  const grants = {
    work: await sidekey.grant([upstream.authority], { name: 'work', user: 'alice' }),
    home: await sidekey.grant([upstream.authority], { name: 'home', user: 'alice' }),
  };
  await addAgent(store, 'robot', 'own', { bindings });
  const lease = async (fields: Partial<LeaseRecord> = {}) => {
    const record = leaseRecord({
      agent: 'robot',
      tokenHash: hashToken('lease'),
      grants: [grants.work.id],
      purpose: 'nightly report',
      createdAt: start,
      expiresAt: start + 900_000,
      ...fields,
    });
    await store.leases.insert(record);
    return record;
  };
  const explain = async (args: readonly string[], input = '') => {
    const written = { stdout: '', stderr: '' };
    const to = (name: keyof typeof written) => ({ write: (text: string) => ((written[name] += text), true) });
    const at = ['--at', new Date(time).toISOString(), '--config', sidekey.configFile, '--json'];
    const exit = await run(['explain', ...args, ...at], {
      env: {},
      stdin: Readable.from([Buffer.from(input)]),
      stdout: to('stdout'),
      stderr: to('stderr'),
    });
    const told = (written.stdout === '' ? {} : JSON.parse(written.stdout)) as Explained;
    const rows = told.steps?.map(({ step, ok, text }) => `${ok ? '✓' : '✗'} ${step}: ${text}`);
    return { exit, ...told, rows, stderr: written.stderr };
  };
  const url = `${upstream.url}/v1/x`;
  const ask = async (method: string, userInfo: string | null, fields: readonly string[] = [], body = '') => {
    const client = await openClient(sidekey);
    const who =
      userInfo === null ? [] : [`Proxy-Authorization: Basic ${Buffer.from(userInfo).toString('base64')}`];
    const length = body === '' ? [] : [`Content-Length: ${Buffer.byteLength(body)}`];
    const lines = [`${method} ${url} HTTP/1.1`, `Host: ${upstream.authority}`, ...who, ...fields, ...length];
    client.send(`${lines.join('\r\n')}\r\n\r\n${body}`);
    const answer = await client.response(method);
    client.socket.destroy();
    return answer;
  };
  return { url, sidekey, store, grants, lease, explain, ask, advance: (ms: number) => (time += ms) };
}

type Setup = Awaited<ReturnType<typeof setup>>;

/** The refusal of the proxy, and what was explained, in the same form. */
async function both(
  { ask, explain, url }: Setup,
  userInfo: string | null,
  args: readonly string[],
  fields: readonly string[] = [],
) {
  const explained = await explain(['GET', url, ...args, ...fields.flatMap((it) => ['--header', it])]);
  const answer = await ask('GET', userInfo, fields);
  const { code, detail, hint } = problemOf(answer) as Record<string, unknown>;
  return {
    proxy: { code, detail, hint },
    explained: { code: explained.code, detail: explained.message, hint: explained.hint },
    code: explained.code,
    rows: explained.rows,
  };
}

describe('explain refuses an expired permission exactly as the proxy does', () => {
  test.each<[name: string, end: (at: Setup, lease: LeaseRecord) => unknown, code: string, row: string]>([
    ['a lease whose time is over', (at) => at.advance(900_000), 'lease_expired', '✗ lease: '],
    [
      'a lease that was revoked',
      ({ store }, { id }) => store.leases.revoke({ id }, start + 5),
      'lease_expired',
      '✗ lease: ',
    ],
    [
      'a lease that is used up',
      ({ store }, { id }) => store.leases.use(id, start),
      'lease_expired',
      '✗ lease: ',
    ],
    [
      'the lease of an agent that is disabled',
      ({ store }) => store.agents.change('robot', { disabledAt: start }),
      'agent_auth_required',
      '✗ agent: ',
    ],
    [
      'a lease of a grant that was given until now',
      ({ store, grants }) => store.grantPolicies.set(grants.work.id, { expiresAt: start }),
      'grant_expired',
      '✗ grant: ',
    ],
    [
      'a lease of a grant that was revoked',
      ({ sidekey, grants }) => sidekey.proxy.state.grants.setState(grants.work, 'revoked', null),
      'grant_revoked',
      '✗ token: ',
    ],
    [
      'a lease whose grant was taken from its agent',
      ({ store }) => store.bindings.remove('robot', [everything]),
      'grant_missing',
      '✗ grant: ',
    ],
  ])('%s', async (_, end, code, row) => {
    const at = await setup();
    const lease = await at.lease({ maxUses: 1 });
    await end(at, lease);
    const said = await both(at, 'robot:lease', ['--lease', lease.id.slice(0, 8)]);
    expect(said.explained).toEqual(said.proxy);
    expect(said.code).toBe(code);
    expect(said.rows?.at(-1)).toMatch(new RegExp(`^${row}`));
  });

  test.each<[name: string, end: (at: Setup) => unknown]>([
    ['a token that was revoked', ({ store }) => store.agentTokens.revoke('robot', null, start)],
    ['a disabled agent', ({ store }) => store.agents.change('robot', { disabledAt: start })],
    ['a grant that is bound no more', ({ store }) => store.bindings.remove('robot', [everything])],
  ])('%s', async (_, end) => {
    const at = await setup();
    await end(at);
    const said = await both(at, 'robot:own', ['--agent', 'robot']);
    expect(said.explained).toEqual(said.proxy);
    expect(said.code).not.toBeUndefined();
  });

  test('a lease with the name of another agent is refused, and so is a request without a required token', async () => {
    const at = await setup({}, [everything], {
      proxy: { listen: '127.0.0.1:0', authentication: 'required' },
    });
    const { id } = await at.lease();
    await addAgent(at.store, 'other', 'others');
    const strange = await both(at, 'other:lease', ['--lease', id, '--agent', 'other']);
    expect(strange.explained).toEqual(strange.proxy);
    expect(strange.code).toBe('agent_auth_required');
    const nobody = await both(at, null, []);
    expect(nobody.explained).toEqual(nobody.proxy);
  });
});

const call = (name: string) =>
  JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name } });

describe('explain', () => {
  test('shows agent, grants, purpose and limits of a lease, and does not count as a request', async () => {
    const at = await setup();
    const lease = await at.lease({ idleMs: 300_000, maxUses: 10, uses: 3 });
    const told = await at.explain([at.url, '--lease', lease.id.slice(0, 8)]);
    expect(told).toMatchObject({
      exit: 0,
      allowed: true,
      outcome: 'with the credential of work (user alice)',
    });
    expect(told.rows?.slice(1, 4)).toEqual([
      `✓ lease: ${lease.id} of robot, for alice/work: nightly report`,
      `✓ lease: active, ends in 5 min (${dateTime(Date.parse('2026-11-20T09:05:00Z'))}); at most 5m between two requests; 3 of 10 uses`,
      '✓ agent: robot',
    ]);
    expect(await at.store.leases.get(lease.id)).toEqual({
      ...lease,
      tokenHash: new Uint8Array(lease.tokenHash),
    });
    expect(await at.explain([at.url, '--lease', 'ffffffff'])).toMatchObject({ exit: 2 });
  });

  test.each([
    [['--agent', 'robot'], [], 'robot:own'],
    [['--agent', 'robot+grant=home'], [], 'robot+grant=home:own'],
    [['--agent', 'robot', '--grant', 'home'], [], 'robot+grant=home:own'],
    [['--agent', 'robot+grant=home'], ['Sidekey-Grant: nothing'], 'robot+grant=home:own'],
    [['--agent', 'robot', '--user', 'bob'], [], 'robot+user=bob:own'],
    [['--agent', 'robot'], ['Sidekey-Grant: a b'], 'robot:own'],
    [[], ['Sidekey-Grant: home'], null],
  ])('selects the same grant as the proxy: %j %j', async (args, fields, userInfo) => {
    const at = await setup();
    const explained = await at.explain(['GET', at.url, ...args, ...fields.flatMap((it) => ['--header', it])]);
    const answer = await at.ask('GET', userInfo, fields);
    expect(explained.allowed).toBe(answer.status === 200);
    expect(explained.code).toBe(answer.headers['sidekey-error']);
    expect(explained.message).toBe(answer.status === 200 ? undefined : problemOf(answer).detail);
  });

  test('reports that a rule would send a request with the name of a grant without a credential', async () => {
    const at = await setup({ default: 'tunnel' });
    const who = ['--agent', 'robot+user=alice'];
    const said = await both(at, 'robot+user=alice:own', who, ['Sidekey-Grant: work']);
    expect(said.explained).toEqual(said.proxy);
    expect(said.code).toBe('grant_missing');
    expect(await at.explain(['GET', at.url, ...who])).toMatchObject({ exit: 0 });
  });

  const graphql = { rules: [{ name: 'reads', paths: ['/v1/x'], graphql: { types: ['query'] } }] };
  const rpc = { rules: [{ name: 'tools', jsonrpc: { methods: ['tools/call'], tools: ['search'] } }] };

  test.each<[name: string, domain: object, fields: string[], body: string]>([
    ['a query of GraphQL', graphql, [], '{"query":"{ a }"}'],
    ['a mutation', graphql, [], '{"query":"mutation { a }"}'],
    ['a query as it is', graphql, ['Content-Type: application/graphql'], '{ a }'],
    ['a body that cannot be read', graphql, ['Content-Encoding: gzip'], '{"query":"{ a }"}'],
    ['a call of a tool', rpc, [], call('search')],
    ['a call of another tool', rpc, [], call('remove')],
    ['a type of content', { rules: [{ content_types: ['text/*'] }] }, ['content-type: text/plain'], 'x'],
    ['another type of content', { rules: [{ content_types: ['text/*'] }] }, [], '{}'],
    [
      'a reason',
      { rules: [{ methods: ['POST'], require_reason: true }] },
      ['Sidekey-Reason: ticket 7'],
      '{}',
    ],
    ['no reason', { rules: [{ methods: ['POST'], require_reason: true }] }, [], '{}'],
    ['another method', { rules: [{ methods: ['POST'] }] }, ['X-HTTP-Method-Override: DELETE'], '{}'],
    ['a body that is too large', { rules: [{ body_size: { max: 3 } }] }, [], '{"a":1}'],
  ])('evaluates the content of a request as the proxy does: %s', async (_, domain, fields, body) => {
    const at = await setup(domain, [everything], {});
    await at.store.bindings.remove('robot', [everything]);
    await at.store.bindings.add('robot', [{ kind: 'grant', value: at.grants.work.id }], start);
    const headers = fields.flatMap((it) => ['--header', it]);
    const sent = /content-type/i.test(fields.join()) ? fields : [...fields, 'Content-Type: application/json'];
    const answer = await at.ask('POST', 'robot:own', sent, body);
    for (const given of [
      ['--data', body],
      ['--data-file', '-'],
    ]) {
      const told = await at.explain([at.url, '--agent', 'robot', ...headers, ...given], body);
      expect(told.allowed).toBe(answer.status === 200);
      expect(told.message).toBe(answer.status === 200 ? undefined : problemOf(answer).detail);
      expect(told.rows?.some((row) => row.startsWith('✓ rule: ')) || told.code === 'policy_violation').toBe(
        true,
      );
      expect(JSON.stringify(told)).not.toContain('ticket');
    }
  });

  test.each([
    ['+user=bob', 'bob', 'rule_denied'],
    ['', 'bob', 'rule_denied'],
    ['', 'work', undefined],
    ['+user=eve', 'work', 'grant_missing'],
  ])('evaluates user conditions as the proxy does: robot%s, bound to %s', async (chosen, bound, code) => {
    const at = await setup({ default: 'allow', rules: [{ users: ['bob', 'eve'], outcome: 'deny' }] }, []);
    const bob = await at.sidekey.grant([new URL(at.url).host], { name: 'bobs', user: 'bob' });
    const { id } = bound === 'bob' ? bob : at.grants.work;
    await at.store.bindings.add('robot', [{ kind: 'grant', value: id }], start);
    const explained = await at.explain(['GET', at.url, '--agent', `robot${chosen}`]);
    const answer = await at.ask('GET', `robot${chosen}:own`);
    expect([explained.code, answer.headers['sidekey-error']]).toEqual([code, code]);
  });

  test('names each rule with its line, and uses the given time and address', async () => {
    const at = await setup({
      rules: [
        { name: 'office', clients: ['10.0.0.0/8'], times: [{ from: '09:00', to: '10:00', zone: 'UTC' }] },
        { name: 'limited', methods: ['PUT'], limits: [{ rate: '10/1m', per: 'agent' }] },
      ],
    });
    const who = ['--agent', 'robot+grant=work+user=alice'];
    const inside = await at.explain([at.url, ...who, '--client', '10.1.2.3']);
    expect(inside).toMatchObject({ exit: 0 });
    expect(inside.rows?.find((row) => row.startsWith('✓ rule'))).toMatch(
      /^✓ rule: office, domains\["api\.acme\.test:\d+"\]\.rules\[0\] \(.*sidekey\.yaml:\d+\): allow$/,
    );
    const outside = await at.explain([at.url, ...who, '--client', 'fd00::1']);
    expect(outside).toMatchObject({ exit: 2, code: 'rule_denied' });
    expect(outside.rows?.filter((row) => row.includes('rule:'))).toMatchObject([
      expect.stringMatching(/rules\[0\] \(.+:\d+\): does not match, because of clients 10\.0\.0\.0\/8$/),
      expect.stringMatching(/rules\[1\] \(.+:\d+\): does not match, because of methods PUT$/),
      expect.stringMatching(/rules \(.+:\d+\): deny$/),
    ]);
    at.advance(3_600_000);
    expect(await at.explain([at.url, ...who, '--client', '10.1.2.3'])).toMatchObject({ code: 'rule_denied' });
    expect((await at.explain(['PUT', at.url, ...who])).rows).toContainEqual(
      '✓ decision: inject: the request is allowed by limited; at most 10 requests every 1 min per agent',
    );
    expect(await at.explain([at.url, '--client', '10.1.2.3'])).toMatchObject({ code: 'agent_auth_required' });
  });

  test('reports that approval is required, and the standing approvals', async () => {
    const at = await setup(
      { default: 'allow', rules: [{ name: 'careful', methods: ['DELETE'], outcome: 'approve' }] },
      [everything],
      { approvals: { timeout: '90s' } },
    );
    const { id } = await at.lease();
    const args = ['DELETE', at.url, '--lease', id];
    const told = await at.explain(args);
    expect(told).toMatchObject({ exit: 2, allowed: false, held: true });
    expect(told.rows).toContain(
      '✓ approval: a person is asked, and the request waits up to 90s for the answer',
    );
    // A person says yes for while the lease lasts, to a request of the proxy itself.
    const answered = at.ask('DELETE', 'robot:lease');
    let waiting = await at.store.approvals.waiting(start);
    while (waiting.length === 0) {
      await new Promise((resolve) => setImmediate(resolve));
      waiting = await at.store.approvals.waiting(start);
    }
    const yes = {
      at: start,
      by: 'alice in a terminal',
      outcome: 'allowed',
      reach: { kind: 'lease' },
    } as const;
    await at.store.approvals.answer(waiting[0]!.id, yes);
    expect((await answered).status).toBe(200);
    const after = await at.explain(args);
    expect(after).toMatchObject({ exit: 0, allowed: true, held: false });
    expect(after.rows).toContain('✓ approval: alice in a terminal said yes in 0 s, as long as the lease');
    expect(await at.explain(['DELETE', at.url, '--agent', 'robot+grant=work+user=alice'])).toMatchObject({
      held: true,
    });
  });

  test.each([
    [['--header', 'nonsense'], 'A header is not valid.'],
    [['--header', 'Proxy-Authorization: Basic c2VjcmV0'], 'Name the caller with --agent or --lease'],
    [['--client', 'nowhere'], '--client is not an IP address.'],
    [['--agent', 'a+b'], 'A selector in --agent is not valid.'],
    [['--data', 'a', '--data-file', '-'], '--data and --data-file are both given.'],
    [['--data-file', 'none.json'], 'none.json cannot be read (ENOENT).'],
  ])('refuses invalid arguments: %j', async (args, sentence) => {
    const at = await setup();
    const told = await at.explain([at.url, ...args]);
    expect(told.exit).toBe(2);
    expect(told.stderr).toContain(sentence);
    expect(told.stderr).not.toContain('c2VjcmV0');
  });
});
