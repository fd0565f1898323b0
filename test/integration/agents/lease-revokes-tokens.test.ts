/** `leases: { revoke: token }`: the end of a lease ends the access tokens that it alone used. */
import type { IncomingMessage } from 'node:http';
import { describe, expect, test } from 'vitest';
import { hashToken } from '../../../src/agents/authentication.ts';
import type { OAuth2Credential } from '../../../src/domain/credential.ts';
import { finishEndedLeases } from '../../../src/operations/lease-end.ts';
import type { Changing } from '../../../src/operations/operation.ts';
import type { LeaseRecord } from '../../../src/store/store.ts';
import { home, leaseCreate } from '../../support/command-line.ts';
import { oauth2Credential } from '../../support/oauth2-credential.ts';
import { openTunnel } from '../../support/raw-client.ts';
import { requestBody } from '../../support/request-body.ts';
import { addAgent, leaseRecord } from '../../support/rights.ts';
import { startSidekey, type SidekeyOptions, type TestSidekey } from '../../support/sidekey.ts';
import { testUpstreamClient } from '../../support/upstream-fetch.ts';
import { startUpstream } from '../../support/upstream.ts';

const start = Date.now();
const minute = 60_000;

interface Settings {
  /** Status of the revocation endpoint. */
  readonly revocation?: number;
  /** The revocation endpoint answers after it. */
  readonly answers?: Promise<void>;
  readonly provider?: object;
  readonly credential?: Partial<OAuth2Credential>;
  readonly revoke?: 'none' | 'token';
  /** Fields of the lease `one`. */
  readonly lease?: Partial<LeaseRecord>;
  /** True: the grant is of the lease `one` only. */
  readonly isOwn?: boolean;
}

const form = async (request: IncomingMessage) => new URLSearchParams(await requestBody(request));

/** A service that refreshes and revokes, and a proxy with a grant for it; two leases and an agent. */
async function setup(settings: Settings = {}) {
  const revoked: string[] = [];
  let issued = 0;
  const service = await startUpstream((request, response) => {
    void (async () => {
      if (request.url === '/token') {
        await form(request);
        issued += 1;
        const tokens = {
          access_token: `fresh-${issued}-0123456789`,
          token_type: 'Bearer',
          expires_in: 3_600,
        };
        response.setHeader('content-type', 'application/json').end(JSON.stringify(tokens));
      } else if (request.url === '/revoke') {
        const asked = await form(request);
        revoked.push(asked.get('token') ?? '');
        await settings.answers;
        response.writeHead(settings.revocation ?? 200).end();
      } else {
        const token = request.headers.authorization?.replace('Bearer ', '') ?? '';
        const isRevoked = revoked.includes(token) && (settings.revocation ?? 200) === 200;
        response.writeHead(isRevoked ? 401 : 200).end(token);
      }
    })();
  });
  let time = start;
  const options: SidekeyOptions = {
    domains: { [service.authority]: { grant: 'acme' } },
    now: () => time,
    config: {
      leases: { revoke: settings.revoke ?? 'token' },
      providers: {
        acme: {
          title: 'Acme',
          token_endpoint: `${service.url}/token`,
          revocation_endpoint: `${service.url}/revoke`,
          client_id: 'app',
          client_auth: 'none',
          audience: [service.authority],
          ...settings.provider,
        },
      },
    },
  };
  const sidekey = await startSidekey(options);
  const { state } = sidekey.proxy;
  await addAgent(state.store, 'robot', 'own');
  const leases = new Map<string, LeaseRecord>();
  for (const name of ['one', 'two']) {
    const times = { createdAt: start, expiresAt: start + 15 * minute };
    const fields = { agent: 'robot', tokenHash: hashToken(name), grants: null, ...times };
    const record = leaseRecord({ ...fields, ...(name === 'one' ? settings.lease : {}) });
    await state.store.leases.insert(record);
    leases.set(name, record);
  }
  const one = leases.get('one')!;
  const credential = oauth2Credential({
    accessToken: 'first-token-0123456789',
    refreshToken: 'refresh-0123456789',
    obtainedAt: start,
    expiresAt: start + 60 * minute,
    ...settings.credential,
  });
  const owner = settings.isOwn === true ? { lease: one.id } : {};
  const wanted = { name: 'acme', user: 'default', provider: 'acme', scopes: [], ...owner };
  const grant = await state.grants.add(wanted, { credential, audience: [service.authority] });

  /** Sends a request as the agent, or under a lease. Returns the token that the service got. */
  async function use(secret: 'own' | 'one' | 'two', by: TestSidekey = sidekey): Promise<string> {
    const fields = [`Proxy-Authorization: Basic ${Buffer.from(`robot:${secret}`).toString('base64')}`];
    const client = await openTunnel(by, service.authority, { fields });
    client.send(`GET / HTTP/1.1\r\nHost: ${service.authority}\r\n\r\n`);
    return (await client.response()).body;
  }
  const finish = async (by: TestSidekey = sidekey, options: Parameters<typeof finishEndedLeases>[1] = {}) => {
    const client = testUpstreamClient();
    const config = by.proxy.config();
    const withFetch: Changing['withFetch'] = (go) => go(client.fetch);
    await finishEndedLeases({ ...by.proxy.state, config, now: () => time, withFetch }, options);
  };
  return {
    sidekey,
    options,
    service,
    revoked,
    grant,
    use,
    finish,
    end: (name: string) => state.store.leases.revoke({ id: leases.get(name)!.id }, time),
    agent: { disable: () => state.store.agents.change('robot', { disabledAt: time }) },
    store: state.store,
    state: async () => (await state.grants.read(grant.id))?.grant.state,
    advance: (ms: number) => (time += ms),
    events: async () =>
      (await sidekey.audit())
        .filter(({ event }) => event === 'grant.token_revoked')
        .map(({ outcome, reason = '' }) => `${outcome} ${reason}`.trim()),
  };
}

type Setup = Awaited<ReturnType<typeof setup>>;
const first = 'first-token-0123456789';
const none = { refreshToken: null };

interface Row extends Settings {
  readonly name: string;
  /** Uses before the end, and the end. */
  readonly before: (at: Setup) => Promise<unknown>;
  readonly revokes: boolean;
  readonly events: readonly string[];
}

const endAfter =
  (...uses: readonly ('own' | 'one' | 'two')[]): Row['before'] =>
  async (at) => {
    for (const each of uses) await at.use(each);
    await at.end('one');
  };

const rows: readonly Row[] = [
  { name: 'revoked, and alone', before: endAfter('one', 'one'), revokes: true, events: ['ok'] },
  {
    name: 'at its time',
    before: async (at) => {
      await at.use('one');
      at.advance(16 * minute);
    },
    revokes: true,
    events: ['ok'],
  },
  {
    name: 'not used for its idle time',
    lease: { idleMs: minute },
    before: async (at) => {
      await at.use('one');
      at.advance(3 * minute);
    },
    revokes: true,
    events: ['ok'],
  },
  {
    name: 'used up, a minute after its last request',
    lease: { maxUses: 1 },
    before: async (at) => {
      await at.use('one');
      await at.finish();
      expect(at.revoked).toEqual([]);
      at.advance(2 * minute);
    },
    revokes: true,
    events: ['ok'],
  },
  {
    name: 'with its agent, which was disabled',
    before: async (at) => {
      await at.use('one');
      await at.agent.disable();
    },
    revokes: true,
    events: ['ok'],
  },
  {
    name: 'with its agent, which was removed',
    before: async (at) => {
      await at.use('one');
      await at.store.agents.remove('robot');
    },
    revokes: true,
    events: ['ok'],
  },
  {
    name: 'while it goes on',
    before: (at) => at.use('one'),
    revokes: false,
    events: [],
  },
  { name: 'without a use', before: endAfter('two'), revokes: false, events: [] },
  {
    name: 'after a use by another lease',
    before: endAfter('one', 'two'),
    revokes: false,
    events: ['aborted Other callers used the token too.'],
  },
  {
    name: 'after an earlier use by its agent without a lease',
    before: endAfter('own', 'one'),
    revokes: false,
    events: ['aborted Other callers used the token too.'],
  },
  {
    name: 'after a program read the token by the API',
    before: async (at) => {
      await at.use('one');
      const { credential, grant } = (await at.sidekey.audit()).find(({ event }) => event === 'access')!;
      await at.sidekey.proxy.state.audit.append({ event: 'token.read', grant, credential });
      await at.end('one');
    },
    revokes: false,
    events: ['aborted Other callers used the token too.'],
  },
  {
    name: 'after a use of the same token in another grant',
    before: async (at) => {
      await at.use('one');
      const { grants, audit } = at.sidekey.proxy.state;
      const { sealed } = (await grants.read(at.grant.id))!;
      const wanted = { name: 'twin', user: 'default', provider: 'acme', scopes: [] };
      const twin = await grants.add(wanted, { credential: sealed.credential, audience: sealed.audience });
      const { credential } = (await at.sidekey.audit()).find(({ event }) => event === 'access')!;
      await audit.append({ event: 'access', grant: twin.id, credential });
      await at.end('one');
    },
    revokes: false,
    events: ['aborted Other callers used the token too.'],
  },
  {
    name: 'after the other lease that used the token',
    before: async (at) => {
      await endAfter('one', 'two')(at);
      await at.finish();
      await at.end('two');
    },
    revokes: true,
    events: ['aborted Other callers used the token too.', 'ok'],
  },
  {
    name: 'without the setting',
    revoke: 'none',
    before: endAfter('one'),
    revokes: false,
    events: [],
  },
  {
    name: 'after the setting was taken back',
    before: async (at) => {
      await at.use('one');
      await at.sidekey.configure({ leases: { revoke: 'none' } });
      await at.end('one');
    },
    revokes: false,
    events: [],
  },
  {
    name: 'without a refresh token',
    credential: none,
    before: endAfter('one'),
    revokes: false,
    events: ['aborted The grant has no refresh token, so it would be lost.'],
  },
  {
    name: 'at a provider that ends the grant with its access token',
    provider: { dialect: { revocation: { ends_grant: true } } },
    before: endAfter('one'),
    revokes: false,
    events: ['aborted Acme would end the whole grant with its access token.'],
  },
  {
    name: 'at a provider where the access token is what ends a grant',
    provider: { dialect: { revocation: { token: 'access_token' } } },
    before: endAfter('one'),
    revokes: false,
    events: ['aborted Acme would end the whole grant with its access token.'],
  },
  {
    name: 'at a provider without a revocation endpoint',
    provider: { revocation_endpoint: undefined },
    before: endAfter('one'),
    revokes: false,
    events: [expect.stringMatching(/^aborted Acme has no revocation endpoint/)],
  },
  {
    name: 'whose grant belongs to another server',
    credential: { tokenEndpoint: 'https://other.example/token' },
    before: endAfter('one'),
    revokes: false,
    events: [expect.stringMatching(/^aborted /)],
  },
  {
    name: 'with a grant of its own without a refresh token',
    isOwn: true,
    credential: none,
    before: endAfter('one'),
    revokes: true,
    events: ['ok'],
  },
  {
    name: 'after a refresh: the token that it used is not stored any more',
    before: async (at) => {
      await at.use('one');
      at.advance(14 * minute);
      const opened = (await at.sidekey.proxy.state.grants.read(at.grant.id))!;
      const credential = {
        ...(opened.sealed.credential as OAuth2Credential),
        accessToken: 'newer-0123456789',
      };
      await at.sidekey.proxy.state.grants.replaceCredential(opened.grant, { ...opened.sealed, credential });
      await at.end('one');
    },
    revokes: false,
    events: [],
  },
];

describe('a lease that ends', () => {
  test.each(rows)('$name', async ({ before, revokes, events, ...settings }) => {
    const at = await setup(settings);
    await before(at);
    await at.finish();
    await at.finish();
    expect(at.revoked).toEqual(revokes ? [first] : []);
    expect(await at.events()).toEqual(events);
    expect(await at.state()).toBe(settings.isOwn === true ? undefined : 'active');
  });

  test('leaves the grant, whose next use gets a new token', async () => {
    const at = await setup();
    await at.use('one');
    await at.end('one');
    await at.finish();
    expect(await at.use('own')).toBe('fresh-1-0123456789');
  });

  test.each([
    ['a provider that answers', 200, 'ok'],
    ['a provider that fails', 503, 'failed'],
  ])('makes one attempt with two processes of one store, at %s', async (_name, revocation, outcome) => {
    const at = await setup({ revocation });
    const other = await startSidekey({ ...at.options, folder: at.sidekey.folder });
    await at.use('one');
    await at.use('one', other);
    await at.end('one');
    await Promise.all([at.finish(), at.finish(other)]);
    expect(at.revoked).toEqual([first]);
    expect(await at.events()).toEqual([expect.stringContaining(outcome)]);
  });

  test('that another process saw in use is shared', async () => {
    const at = await setup();
    const other = await startSidekey({ ...at.options, folder: at.sidekey.folder });
    await at.use('own', other);
    await at.use('one');
    await at.end('one');
    await at.finish();
    expect(at.revoked).toEqual([]);
  });

  test('by its last use keeps the token of its own grant until its time, because it can be renewed', async () => {
    const at = await setup({ isOwn: true, credential: none, lease: { maxUses: 1 } });
    await at.use('one');
    at.advance(2 * minute);
    await at.finish();
    expect(at.revoked).toEqual([]);
    at.advance(14 * minute);
    await at.finish();
    expect(at.revoked).toEqual([first]);
    expect(await at.state()).toBeUndefined();
  });

  test('loses its own grants, although one that it used cannot be read', async () => {
    const at = await setup({ isOwn: true });
    const { grants, store } = at.sidekey.proxy.state;
    const { sealed } = (await grants.read(at.grant.id))!;
    const other = await grants.add({ name: 'other', user: 'default', provider: 'acme', scopes: [] }, sealed);
    const record = (await store.grants.get(other.id))!;
    await store.grants.replace({ ...record, sealed: Buffer.alloc(64), revision: 2 }, 1);
    await store.tokenUses.note({ grantId: other.id, token: 'unknown', lease: at.grant.lease }, start);
    await at.end('one');
    await expect(at.finish()).rejects.toThrow();
    expect(await at.state()).toBeUndefined();
  });

  test('while no proxy ran is finished by the next one', async () => {
    const at = await setup();
    await at.use('one');
    await at.sidekey.proxy.close();
    at.advance(16 * minute);
    const next = await startSidekey({ ...at.options, folder: at.sidekey.folder });
    await next.audited(({ event }) => event === 'grant.token_revoked');
    expect(at.revoked).toEqual([first]);
  });

  test('leaves its token to the next start if the proxy is stopping', async () => {
    const at = await setup();
    await at.use('one');
    await at.end('one');
    await at.finish(at.sidekey, { signal: AbortSignal.abort() });
    expect(at.revoked).toEqual([]);
    expect(await at.store.tokenUses.list()).toHaveLength(1);
  });

  test('whose token is being revoked when the proxy stops is finished before the store closes', async () => {
    const { promise: answers, resolve } = Promise.withResolvers<void>();
    const at = await setup({ answers });
    await at.use('one');
    await at.sidekey.proxy.close();
    at.advance(16 * minute);
    const next = await startSidekey({ ...at.options, folder: at.sidekey.folder });
    await expect.poll(() => at.revoked, { timeout: 30_000 }).toEqual([first]);
    const closing = next.proxy.close();
    setTimeout(resolve, 300);
    await closing;
    expect(await at.events()).toEqual(['ok']);
    expect(next.logged()).not.toContain('were not removed');
  });

  test('and whose provider fails is tried five times, and every attempt is recorded', async () => {
    const at = await setup({ revocation: 503 });
    await at.use('one');
    await at.end('one');
    for (let i = 0; i < 40; i += 1) {
      await at.finish();
      at.advance(minute / 2);
    }
    expect(at.revoked).toHaveLength(5);
    const events = await at.events();
    expect(events).toHaveLength(5);
    for (const event of events) expect(event).toMatch(/^failed Acme was not told: .*HTTP 503/);
    expect(events.at(-1)).toMatch(/No further attempt follows\.$/);
    // The token still works, and nobody waits for it.
    expect(await at.use('own')).toBe(first);
    expect(await at.store.tokenUses.list()).toMatchObject([{ lease: null }]);
  });
});

test.each([
  ['without a refresh token', 'acme', {}, 'The grant has no refresh token'],
  ['at a provider that ends the whole grant', 'gitlab', { refresh_token: 'r' }, 'GitLab would end the whole'],
  ['without a revocation endpoint', 'microsoft', { refresh_token: 'r' }, 'Microsoft 365 (Graph) has no'],
  ['that gets another token', 'acme', { refresh_token: 'r' }, null],
])(
  'lease create tells beforehand of a token that stays: of a grant %s',
  async (_name, provider, more, why) => {
    const at = await home({ leases: { revoke: 'token' } });
    await at.grant('work', { type: 'oauth2', access_token: 'a', ...more }, ['--provider', provider]);
    await at.run(['agent', 'create', 'ci', '--grant', 'work']);
    const { exit, stderr } = await at.run(leaseCreate('ci', ['work'], '--ttl', '15m'));
    const text = stderr.replaceAll(/\s+/g, ' ');
    expect(exit, stderr).toBe(0);
    if (why === null) expect(text).not.toContain('stays valid');
    else expect(text).toContain(`The token of work stays valid after the lease. ${why}`);
  },
);
