/** Requests with credentials that responses minted, and the ends of these credentials. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { describe, expect, test, vi } from 'vitest';
import { hashToken } from '../../../src/agents/authentication.ts';
import type { ConfigInForce } from '../../../src/app/config-in-force.ts';
import { startUpkeep } from '../../../src/app/upkeep.ts';
import type { Grant } from '../../../src/domain/grant.ts';
import { mintGrant, type MintRequest } from '../../../src/grants/mint.ts';
import { finishEndedLeases } from '../../../src/operations/lease-end.ts';
import { discardMinted, endMinted, removeEndedMinted } from '../../../src/operations/minted-end.ts';
import type { Changing } from '../../../src/operations/operation.ts';
import {
  agentHolder,
  type Holder,
  leaseHolder,
  placeholderCodes,
  plainForm,
} from '../../../src/proxy/placeholders/codes.ts';
import { oauth2Credential } from '../../support/oauth2-credential.ts';
import { openTunnel } from '../../support/raw-client.ts';
import { requestBody } from '../../support/request-body.ts';
import { addAgent, leaseRecord } from '../../support/rights.ts';
import { startSidekey } from '../../support/sidekey.ts';
import { testUpstreamClient } from '../../support/upstream-fetch.ts';
import { startUpstream } from '../../support/upstream.ts';

const start = Date.now();
const minute = 60_000;

/**
 * A service with a token host and a chat host, and a proxy with its grant `acme`. The agent `robot`, with the
 * leases `one` and `two`, reaches the grant by its label, the agent `other` by its ID, the agent `free` as
 * every grant of all users; the agent `stranger` reaches nothing.
 *
 * @param hasRow whether a row of the provider mints
 */
async function setup(revocation = 200, hasRow = true) {
  const revoked: string[] = [];
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    if (request.url === '/revoke') {
      revoked.push(new URLSearchParams(await requestBody(request)).get('token') ?? '');
      response.writeHead(revocation).end();
    } else response.end(request.headers.authorization?.replace('Bearer ', '') ?? '');
  };
  const hosts = await Promise.all([1, 2].map(() => startUpstream((...it) => void answer(...it))));
  const [api, chat] = hosts as [(typeof hosts)[0], (typeof hosts)[0]];
  let time = start;
  const sidekey = await startSidekey({
    domains: Object.fromEntries(hosts.map(({ authority }) => [authority, { grant: 'acme' }])),
    now: () => time,
    config: {
      providers: {
        acme: {
          title: 'Acme',
          token_endpoint: `${api.url}/token`,
          revocation_endpoint: `${api.url}/revoke`,
          client_id: 'app',
          client_auth: 'none',
          audience: hosts.map(({ authority }) => authority),
          ...(hasRow && {
            mints: [{ name: 'session', path: '/session', member: 'token', goes_to: [chat.authority] }],
          }),
        },
      },
    },
  });
  const { state } = sidekey.proxy;
  const { store, vault, grants } = state;
  const byLabel = [{ kind: 'label', value: 'prod' }] as const;
  await addAgent(store, 'robot', 'own', { bindings: byLabel });
  await addAgent(store, 'stranger', 'stranger', { bindings: [] });
  await addAgent(store, 'free', 'free');
  const leases = ['one', 'two'].map((secret) =>
    leaseRecord({
      agent: 'robot',
      tokenHash: hashToken(secret),
      grants: null,
      createdAt: start,
      expiresAt: start + 15 * minute,
    }),
  );
  for (const lease of leases) await store.leases.insert(lease);
  const [one, two] = leases as [(typeof leases)[0], (typeof leases)[0]];
  const parent = await sidekey.grant(
    hosts.map(({ authority }) => authority),
    {
      credential: oauth2Credential({
        accessToken: 'the-parent-token',
        refreshToken: 'the-refresh-token',
        obtainedAt: start,
        expiresAt: start + 600 * minute,
      }),
    },
  );
  await store.grantPolicies.set(parent.id, { labels: ['prod'] });
  await addAgent(store, 'other', 'other', { bindings: [{ kind: 'grant', value: parent.id }] });
  const config = sidekey.proxy.config();
  const client = testUpstreamClient();
  const withFetch: Changing['withFetch'] = (go) => go(client.fetch);
  const parts = { ...state, config, now: () => time, withFetch };
  const mint = async (fields: Partial<MintRequest> = {}) => {
    const { grant } = await mintGrant(
      {
        parent,
        mint: 'session',
        secret: 'the-minted-token',
        expiresAt: null,
        maxMs: 60 * minute,
        audience: [chat.authority],
        isRevocable: true,
        lease: one,
        by: {},
        ...fields,
      },
      parts,
    );
    return grant;
  };
  const codes = placeholderCodes(vault);

  /** Sends a request to the chat host (or another) with a token of the proxy and a bearer token. */
  async function ask(
    secret: string,
    bearer: string | null,
    options: { to?: string; fields?: string[] } = {},
  ) {
    const { to = chat.authority, fields = [] } = options;
    const agent = ['other', 'stranger', 'free'].includes(secret) ? secret : 'robot';
    const login = Buffer.from(`${agent}:${secret}`).toString('base64');
    const tunnel = await openTunnel(sidekey, to, { fields: [`Proxy-Authorization: Basic ${login}`] });
    const all = [`Host: ${to}`, ...(bearer === null ? [] : [`Authorization: Bearer ${bearer}`]), ...fields];
    tunnel.send(`GET / HTTP/1.1\r\n${all.join('\r\n')}\r\n\r\n`);
    const { status, body } = await tunnel.response();
    return status === 200 ? body : (/"code":\s*"(\w+)"/.exec(body)?.[1] ?? body);
  }
  return {
    sidekey,
    parts,
    store,
    grants,
    parent,
    one,
    two,
    api,
    chat,
    revoked,
    mint,
    ask,
    show: (grant: Grant, holder: Holder) => codes.make(plainForm, holder, grant.id),
    advance: (ms: number) => (time += ms),
    minted: async () => (await store.grants.minted({ limit: 99 })).map(({ id }) => id),
    events: async (from: string) =>
      (await sidekey.audit())
        .filter(({ event }) => event === 'grant.removed' || event === 'grant.token_revoked')
        .map(({ event, outcome, grant, reason }) => [
          event,
          outcome,
          grant === from ? 'minted' : grant,
          reason,
        ]),
  };
}

describe('a request selects a minted grant', () => {
  test('by the placeholder of its lease, by its name, and not otherwise', async () => {
    const at = await setup();
    const minted = await at.mint();
    const placeholder = at.show(minted, leaseHolder(at.one.id));
    expect(await at.ask('one', placeholder)).toBe('the-minted-token');
    expect(await at.ask('one', placeholder)).toBe('the-minted-token');
    expect(await at.ask('one', null, { fields: [`Sidekey-Grant: ${minted.name}`] })).toBe('the-minted-token');
    expect(await at.ask('one', placeholder, { fields: ['Sidekey-Grant: acme'] })).toBe('the-minted-token');
    expect(await at.ask('one', placeholder, { fields: ['Sidekey-Grant: more'] })).toBe('grant_missing');
    expect(await at.ask('one', null)).toBe('the-parent-token');
    expect(await at.ask('one', null, { fields: ['Sidekey-Grant: acme'] })).toBe('the-parent-token');
    expect(await at.ask('one', at.show(at.parent, leaseHolder(at.one.id)))).toBe('the-parent-token');
  });

  test('below a grant that only its own placeholder selects', async () => {
    const at = await setup();
    const hosts = [at.api.authority, at.chat.authority];
    const parent = await at.sidekey.grant(hosts, { user: 'alice' });
    const minted = await at.mint({ parent, lease: null });
    const show = (grant: Grant) => at.show(grant, agentHolder('free'));
    expect(await at.ask('free', null)).toBe('the-parent-token');
    expect(await at.ask('free', show(parent))).not.toMatch(/the-parent-token|_/);
    expect(await at.ask('free', show(minted))).toBe('the-minted-token');
  });

  test('not if the config has no row that mints', async () => {
    const at = await setup(200, false);
    const minted = await at.mint();
    expect(await at.ask('one', at.show(minted, leaseHolder(at.one.id)))).not.toBe('the-minted-token');
    expect(await at.ask('one', null, { fields: [`Sidekey-Grant: ${minted.name}`] })).toBe('grant_missing');
  });

  test('only for the hosts of its row', async () => {
    const at = await setup();
    const placeholder = at.show(await at.mint(), leaseHolder(at.one.id));
    expect(await at.ask('one', placeholder, { to: at.api.authority })).toBe('policy_violation');
  });

  test('only with its own lease', async () => {
    const at = await setup();
    const minted = await at.mint();
    for (const [secret, holder] of [
      ['two', leaseHolder(at.one.id)],
      ['two', leaseHolder(at.two.id)],
      ['own', agentHolder('robot')],
      ['other', agentHolder('other')],
      ['stranger', agentHolder('stranger')],
    ] as const) {
      expect(await at.ask(secret, at.show(minted, holder))).not.toBe('the-minted-token');
      const byName = await at.ask(secret, null, { fields: [`Sidekey-Grant: ${minted.name}`] });
      expect(byName).toBe('grant_missing');
    }
  });

  test('without a lease, with each agent that reaches the parent', async () => {
    const at = await setup();
    const minted = await at.mint({ lease: null });
    for (const [secret, holder, expected] of [
      ['own', agentHolder('robot'), 'the-minted-token'],
      ['other', agentHolder('other'), 'the-minted-token'],
      ['other', agentHolder('robot'), 'placeholder_misused'],
      ['stranger', agentHolder('stranger'), 'grant_missing'],
    ] as const)
      expect(await at.ask(secret, at.show(minted, holder))).toBe(expected);
  });

  test.each([
    ['was removed', (at: Setup) => at.grants.remove(at.parent.id)],
    ['was revoked', revokeParent],
    [
      'lost the label of the binding',
      (at: Setup) => at.store.grantPolicies.set(at.parent.id, { labels: [] }),
    ],
    ['ended', (at: Setup) => at.store.grantPolicies.set(at.parent.id, { expiresAt: start - 1 })],
  ])('until its parent %s', async (_how, end) => {
    const at = await setup();
    const [leased, free] = [await at.mint(), await at.mint({ lease: null })];
    const ask = async () => [
      await at.ask('one', at.show(leased, leaseHolder(at.one.id))),
      await at.ask('own', at.show(free, agentHolder('robot'))),
    ];
    expect(await ask()).toEqual(['the-minted-token', 'the-minted-token']);
    await end(at);
    for (const answer of await ask()) expect(answer).toMatch(/^(grant_missing|grant_expired)$/);
  });
});

describe('a minted grant ends', () => {
  test('with its lease, and its token at the service', async () => {
    const at = await setup();
    const { id } = await at.mint();
    await at.mint({ secret: 'not-revocable', isRevocable: false });
    await finishEndedLeases(at.parts);
    expect(await at.minted()).toHaveLength(2);
    at.advance(16 * minute);
    await finishEndedLeases(at.parts);
    expect(await at.minted()).toEqual([]);
    expect(at.revoked).toEqual(['the-minted-token']);
    expect(await at.events(id)).toContainEqual(['grant.token_revoked', 'ok', 'minted', undefined]);
  });

  test('no sooner than its lease, if that is renewed', async () => {
    const at = await setup();
    const placeholder = at.show(await at.mint(), leaseHolder(at.one.id));
    at.advance(10 * minute);
    const renewal = { at: at.parts.now(), expiresAt: start + 30 * minute, moreUses: 0 };
    expect(await at.store.leases.renew(at.one.id, renewal)).not.toBeNull();
    at.advance(10 * minute);
    expect(await at.ask('one', placeholder)).toBe('the-minted-token');
    at.advance(11 * minute);
    await expect(at.ask('one', placeholder)).rejects.toThrow('lease_expired');
    await finishEndedLeases(at.parts);
    expect(await at.minted()).toEqual([]);
  });

  test('with its lease, and so do keys that its own keys returned', async () => {
    const at = await setup();
    const keys = {
      accessKeyId: 'ASIACHILDCHILDCHILD1',
      secretAccessKey: 'a-secret',
      sessionToken: 'a-token',
    };
    const child = await at.mint({ secret: keys, isRevocable: false });
    await at.mint({ parent: child, secret: { ...keys, secretAccessKey: 'another' }, isRevocable: false });
    expect(await at.minted()).toHaveLength(2);
    at.advance(16 * minute);
    await finishEndedLeases(at.parts);
    expect(await at.minted()).toEqual([]);
  });

  test('before its parent, with or without a lease, and its token at the service', async () => {
    const at = await setup();
    const { id } = await at.mint();
    await at.mint({ lease: null, secret: 'another-minted-token' });
    await at.mint({ secret: 'not-revocable', isRevocable: false });
    await endMinted(at.parts, at.parent);
    expect(await at.minted()).toEqual([]);
    expect(at.revoked.toSorted()).toEqual(['another-minted-token', 'the-minted-token']);
    const events = await at.events(id);
    expect(events).toContainEqual(['grant.token_revoked', 'ok', 'minted', undefined]);
    expect(events).toContainEqual(['grant.removed', 'allow', 'minted', 'its parent ended']);
  });

  test('and its token at the service, if nobody got its placeholder', async () => {
    const at = await setup();
    await discardMinted(at.parts, await at.mint());
    await discardMinted(at.parts, await at.mint({ secret: 'not-revocable', isRevocable: false }));
    expect(await at.minted()).toEqual([]);
    expect(at.revoked).toEqual(['the-minted-token']);
  });

  test('also if the service does not revoke its token', async () => {
    const at = await setup(500);
    const { id } = await at.mint();
    await endMinted(at.parts, at.parent);
    expect(await at.minted()).toEqual([]);
    const failed = ['grant.token_revoked', 'failed', 'minted', expect.stringContaining('Acme was not told')];
    expect(await at.events(id)).toContainEqual(failed);
  });

  test('before its parent, also if its credential cannot be read', async () => {
    const at = await setup();
    const record = (await at.store.grants.get((await at.mint()).id))!;
    await at.store.grants.replace({ ...record, revision: 2, sealed: Buffer.from('damaged') }, 1);
    await endMinted(at.parts, at.parent);
    expect(await at.minted()).toEqual([]);
  });

  test.each([
    ['removed', (at: Setup) => at.grants.remove(at.parent.id)],
    ['revoked', revokeParent],
  ])('with its token, and after its parent was %s', async (_how, end) => {
    const at = await setup();
    const { id } = await at.mint({ lease: null, maxMs: minute });
    const longer = await at.mint({ lease: null, secret: 'another-minted-token' });
    await removeEndedMinted(at.parts, at.parts.now());
    expect(await at.minted()).toHaveLength(2);
    at.advance(minute);
    await removeEndedMinted(at.parts, at.parts.now());
    expect(await at.minted()).toEqual([longer.id]);
    await end(at);
    await removeEndedMinted(at.parts, at.parts.now());
    expect(await at.minted()).toEqual([]);
    expect(await at.events(id)).toEqual([
      ['grant.removed', 'allow', 'minted', 'its token ended'],
      ['grant.removed', 'allow', longer.id, 'its parent ended'],
    ]);
  });
});

test('the upkeep removes ended minted grants, also if its work for ended leases fails', async () => {
  const at = await setup();
  const { id } = await at.mint({ lease: null, maxMs: minute });
  at.advance(minute);
  at.store.tokenUses.ofLeases = () => Promise.reject(new Error('a damaged row'));
  const client = testUpstreamClient();
  const warnings: string[] = [];
  const log = { error() {}, info() {}, debug() {}, warn: (_: object, text: string) => warnings.push(text) };
  await using opened = new AsyncDisposableStack();
  startUpkeep(
    at.sidekey.proxy.state,
    { config: at.sidekey.proxy.config, upstream: () => client, fetch: () => client.fetch } as ConfigInForce,
    { log, now: at.parts.now, env: {}, stdout: process.stdout },
    opened,
  );
  await vi.waitFor(() => expect(warnings).toHaveLength(1), { timeout: 20_000 });
  expect(await at.minted()).toEqual([]);
  expect(await at.events(id)).toEqual([['grant.removed', 'allow', 'minted', 'its token ended']]);
});

type Setup = Awaited<ReturnType<typeof setup>>;

async function revokeParent({ grants, parent }: Setup): Promise<unknown> {
  const { grant } = (await grants.read(parent.id))!;
  return grants.setState(grant, 'revoked', 'by a test');
}
