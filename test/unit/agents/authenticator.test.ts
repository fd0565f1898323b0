import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { hashToken, type Identity, readPresented } from '../../../src/agents/authentication.ts';
import { egressRefusal } from '../../../src/agents/egress.ts';
import { type Binding, everything } from '../../../src/domain/lease.ts';
import { createAgentAuthenticator } from '../../../src/agents/authenticator.ts';
import { createTokenIdentities } from '../../../src/agents/token-identity.ts';
import type { AgentIssuer } from '../../../src/config/agent-issuers.ts';
import { createUseNotes } from '../../../src/grants/activity.ts';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import type { LeaseRecord, Store } from '../../../src/store/store.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { addAgent, leaseRecord, tokenRecord } from '../../support/rights.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { gitHubClaims, issuerKey } from '../../support/token-issuer.ts';
import { manualTime } from '../lib/manual-time.ts';
import { hintOfText } from '../../support/hint.ts';

const start = Date.UTC(2027, 0, 1);
const basic = (text: string) =>
  readPresented(['Proxy-Authorization', `Basic ${Buffer.from(text).toString('base64')}`]);
const owner = () => 'own' as const;
const near = { loopback: true, owner, mode: 'same_user' } as const;
const minute = 60_000;

async function setup() {
  const time = manualTime(start);
  const path = join(await tempFolder(), 'sidekey.db');
  /** An authenticator with its own connection to the store, like that of another process. */
  const open = async () => {
    const store = await openSqliteStore(path, { now: time.now });
    const uses = createUseNotes({ store, now: time.now, timers: time.timers });
    onTestFinished(async () => {
      await uses.close();
      await store.close();
    });
    const rights = {
      ...store.rights,
      holder: vi.fn((hash: Uint8Array) => store.rights.holder(hash)),
      revision: vi.fn(() => store.rights.revision()),
    };
    const leases = {
      ...store.leases,
      get: vi.fn((id: string) => store.leases.get(id)),
      use: vi.fn((id: string, at: number) => store.leases.use(id, at)),
    };
    const spied: Store = { ...store, rights, leases };
    const register = createAgentAuthenticator({ store: spied, grants: grantsIn(store), now: time.now, uses });
    const identify = (userInfo: string) => register.identify(basic(userInfo), near);
    return { store, uses, register, rights, leases, identify };
  };
  const first = await open();
  const { store } = first;
  const grant = grantRecord({ name: 'work', user: 'alice' });
  const other = grantRecord({ name: 'other', user: 'bob' });
  for (const record of [grant, other]) await store.grants.insert(record);
  const lease = async (secret: string, fields: Partial<LeaseRecord> = {}): Promise<LeaseRecord> => {
    const record = leaseRecord({
      agent: 'a',
      tokenHash: hashToken(secret),
      grants: [grant.id],
      createdAt: start,
      expiresAt: start + 15 * minute,
      ...fields,
    });
    await store.leases.insert(record);
    return record;
  };
  return { ...first, time, open, grant, other, lease };
}

function grantsIn(store: Store) {
  return { current: (id: string) => store.grants.get(id) };
}

function known(identity: Identity | SidekeyError): Identity {
  if (identity instanceof SidekeyError) throw identity;
  return identity;
}

async function assuming() {
  const place = await setup();
  const { store, grant, lease, uses, time } = place;
  await addAgent(store, 'a', 'one');
  await addAgent(store, 'b', 'two');
  const held = await lease('held');
  const assumed = { agent: 'a', tokenHash: hashToken('held') };
  const register = createAgentAuthenticator({ store, grants: grantsIn(store), now: time.now, uses, assumed });
  return { ...place, register, held, grant };
}

describe('a caller with a JWT of an issuer', () => {
  it('is the agent of its claims until the JWT expires, and the permission check returns the expiry', async () => {
    const { store, time, uses, grant } = await setup();
    await addAgent(store, 'ci', 'own', { user: 'alice', labels: ['nightly'] });
    const signer = await issuerKey('one');
    const identities = createTokenIdentities({
      issuers: () => issuers,
      readKeys: async () => JSON.stringify({ keys: [signer.jwk] }),
      now: time.now,
      namesAgents: false,
    });
    const register = createAgentAuthenticator({
      store,
      grants: grantsIn(store),
      now: time.now,
      uses,
      tokenIdentities: identities,
    });
    const jwt = await signer.sign(gitHubClaims('https://issuer.test', 'sidekey', start / 1_000));
    const caller = known(await register.identify(basic(`ci+user=bob:${jwt}`), near));
    expect(caller).toMatchObject({
      agent: 'ci',
      agentUser: 'alice',
      labels: ['nightly'],
      lease: null,
      subject: 'repo:acme/app:ref:refs/heads/main',
      selectors: { user: 'bob' },
    });
    const lasting = { mode: 'required', used: true } as const;
    expect(await caller.holds(grant, lasting)).toBe(start + 5 * minute);
    expect(await caller.spend(grant)).toBeNull();
    await uses.flush();
    expect(await store.agents.identityUse('ci')).toBe(start);
    await time.advance(5 * minute);
    for (const refused of [await caller.holds(null, lasting), await caller.spend(grant)])
      expect(refused).toMatchObject({ code: 'agent_auth_required' });
  });
});

it('a JWT that no longer applies is verified again, also if the config changes while its agent is read', async () => {
  const { store, time, uses } = await setup();
  await addAgent(store, 'ci', 'own');
  const identity = { agent: 'ci', issuer: 'github', subject: 'x', expiresAt: Infinity };
  let isApplied = true;
  const tokenIdentities = {
    applies: () => isApplied,
    find: () => (isApplied ? identity : null),
    verify: async () => new SidekeyError('agent_auth_required', 'Another config.'),
  };
  const agent = vi.fn((name: string) => store.rights.agent(name));
  const spied = { ...store, rights: { ...store.rights, agent } };
  const parts = { store: spied, grants: grantsIn(store), now: time.now, uses, tokenIdentities };
  const register = createAgentAuthenticator(parts);
  const presented = basic('ci:eyJhbGciOiJub25lIn0.e30.x');
  const identify = async () => register.identify(presented, near);
  agent.mockImplementationOnce(async (name) => {
    const found = await store.rights.agent(name);
    isApplied = false;
    return found;
  });
  const refusal = { code: 'agent_auth_required' };
  expect(await identify()).toMatchObject(refusal);
  isApplied = true;
  for (let request = 0; request < 3; request += 1) expect(await identify()).toMatchObject({ agent: 'ci' });
  isApplied = false;
  expect(await identify()).toMatchObject({ ...refusal, message: 'Another config.' });
});

const issuers: readonly AgentIssuer[] = [
  {
    name: 'github',
    issuer: 'https://issuer.test',
    trustDomain: null,
    audience: 'sidekey',
    jwksUrl: null,
    jwksFile: null,
    ca: null,
    token: null,
    maxAgeMs: 3_600_000,
    rules: [{ agent: 'ci', patterns: [{ path: ['repository'], pattern: 'acme/*' }] }],
  },
];

describe('an authenticator with an assumed token', () => {
  it('identifies callers without a token as the holder of that token, but with the selectors of the caller', async () => {
    const { register, held, grant, other } = await assuming();
    const caller = known(await register.identify(readPresented([]), near));
    expect(caller).toMatchObject({ agent: 'a', lease: { id: held.id } });
    expect(caller.reaches(grant)).toBe(true);
    expect(caller.reaches(other)).toBe(false);
    expect(known(await register.identify(basic('+user=alice:'), near)).selectors.user).toBe('alice');
  });

  it.each([
    { loopback: false, owner, mode: 'same_user' },
    { loopback: true, owner, mode: 'required' },
    { loopback: false, owner, mode: 'required' },
  ] as const)('refuses callers without a token where a token is required: %j', async (facts) => {
    const { register } = await assuming();
    expect(await register.identify(readPresented([]), facts)).toMatchObject({ code: 'agent_auth_required' });
  });

  it('identifies callers with a token by that token, and refuses a wrong token', async () => {
    const { register } = await assuming();
    for (const wrong of ['a:nonsense', 'b:held', 'a'])
      expect(await register.identify(basic(wrong), near)).toMatchObject({ code: 'agent_auth_required' });
    expect(known(await register.identify(basic('b:two'), near))).toMatchObject({ agent: 'b', lease: null });
  });

  it('refuses callers without a token when the lease has ended or does not exist', async () => {
    const { register, store, held, time } = await assuming();
    await store.leases.revoke({ id: held.id }, time.now());
    expect(await register.identify(readPresented([]), near)).toMatchObject({ code: 'lease_expired' });
    const assumed = { agent: 'a', tokenHash: hashToken('yet to come') };
    const early = createAgentAuthenticator({
      store,
      grants: grantsIn(store),
      now: time.now,
      uses: { used() {} },
      assumed,
    });
    expect(await early.identify(readPresented([]), near)).toMatchObject({ code: 'agent_auth_required' });
  });

  it('ends the permission of open connections when a token becomes required', async () => {
    const { register, grant } = await assuming();
    const caller = known(await register.identify(readPresented([]), near));
    const lasting = (mode: 'same_user' | 'required') => caller.holds(grant, { mode, used: false });
    expect(await lasting('same_user')).not.toBeInstanceOf(SidekeyError);
    expect(await lasting('required')).toMatchObject({ code: 'agent_auth_required' });
    const shown = known(await register.identify(basic('a:held'), near));
    expect(await shown.holds(grant, { mode: 'required', used: false })).not.toBeInstanceOf(SidekeyError);
  });
});

describe('the authenticator', () => {
  it('identifies an agent by its token, with and without its name', async () => {
    const { store, register, identify } = await setup();
    await addAgent(store, 'a', 'one');
    await addAgent(store, 'b', 'two', { user: 'alice', labels: ['ci'] });
    expect(await identify('b+user=alice:two')).toMatchObject({
      agent: 'b',
      agentUser: 'alice',
      labels: ['ci'],
      lease: null,
      selectors: { grant: null, user: 'alice' },
    });
    expect(await register.identify(readPresented(['Proxy-Authorization', 'Bearer one']), near)).toMatchObject(
      { agent: 'a' },
    );
  });

  it.each([
    ['a wrong token', 'a:two'],
    ['the token of another agent', 'a:three'],
    ['an unknown agent name', 'c:one'],
    ['the name in another case', 'A:one'],
    ['the hash for the token', `a:${hashToken('one').toString('hex')}`],
    ['malformed credentials', 'a'],
    ['the lease of another agent', 'b:lease'],
  ])('refuses %s, even from loopback where a token is optional', async (_what, userInfo) => {
    const { store, lease, identify } = await setup();
    await addAgent(store, 'a', 'one');
    await addAgent(store, 'b', 'three');
    await lease('lease');
    expect(await identify(userInfo)).toMatchObject({ code: 'agent_auth_required' });
  });

  it('accepts a caller without a token only from loopback, and only where the config makes the token optional', async () => {
    const { register, rights } = await setup();
    for (const presented of [readPresented([]), basic('+user=alice:')]) {
      expect(await register.identify(presented, near)).not.toBeInstanceOf(SidekeyError);
      for (const facts of [
        { loopback: false, owner, mode: 'same_user' },
        { loopback: true, owner, mode: 'required' },
        { loopback: false, owner, mode: 'required' },
      ] as const) {
        expect(await register.identify(presented, facts)).toMatchObject({ code: 'agent_auth_required' });
      }
    }
    expect(await register.identify(basic('+user=alice:'), near)).toMatchObject({
      agent: null,
      selectors: { grant: null, user: 'alice' },
    });
    expect(rights.holder).not.toHaveBeenCalled();
  });

  it('reads a token once until it or its agent changes, and not after other changes of the store', async () => {
    const { store, identify, rights, grant, lease } = await setup();
    await addAgent(store, 'a', 'one');
    const many = () => Promise.all(Array.from({ length: 10 }, async () => identify('a:one')));
    await many();
    await many();
    await store.activity.note(grant.id, { usedAt: start });
    await addAgent(store, 'b', 'two');
    const { id } = await lease('lease');
    await store.leases.revoke({ id }, start);
    await store.agentTokens.revoke('b', null, start);
    await store.leases.removeEnded(0);
    await store.grantPolicies.set(grant.id, { labels: ['x'] });
    await many();
    expect(rights.holder).toHaveBeenCalledTimes(1);
    expect(rights.revision).toHaveBeenCalledTimes(1);
    await store.agents.remove('a');
    expect(await identify('a:one')).toMatchObject({ code: 'agent_auth_required' });
    expect(rights.holder).toHaveBeenCalledTimes(2);
  });

  it('asks only whether any right has changed after a write of another process', async () => {
    const { store, identify, rights, grant, open, time } = await setup();
    const other = await open();
    await addAgent(store, 'a', 'one');
    const first = await identify('a:one');
    await other.store.activity.note(grant.id, { usedAt: start });
    await time.advance(10);
    await expect.poll(async () => (await identify('a:one'), rights.revision.mock.calls.length)).toBe(2);
    expect(rights.holder).toHaveBeenCalledTimes(1);
    await other.store.agents.change('a', { labels: ['x'] });
    await expect.poll(async () => known(await identify('a:one')).labels).toEqual(['x']);
    expect(first).toMatchObject({ labels: [] });
    expect(rights.holder).toHaveBeenCalledTimes(2);
  });

  it('returns the same identity for a presented token until its rights change', async () => {
    const { store, register, grant } = await setup();
    await addAgent(store, 'a', 'one');
    const presented = basic('a:one');
    const identify = async () => known(await register.identify(presented, near));
    const first = await identify();
    expect(await identify()).toBe(first);
    await store.activity.note(grant.id, { usedAt: start });
    await addAgent(store, 'b', 'two');
    await store.agents.change('b', { labels: ['x'] });
    expect(await identify()).toBe(first);
    expect(known(await register.identify(basic('a:one'), near))).not.toBe(first);
    await store.bindings.add('a', [{ kind: 'user', value: 'bob' }], start);
    const second = await identify();
    expect(second).not.toBe(first);
    expect(await identify()).toBe(second);
  });

  it('accepts a new token at once after it was unknown', async () => {
    const { store, identify, lease } = await setup();
    expect(await identify('a:one')).toMatchObject({ code: 'agent_auth_required' });
    await addAgent(store, 'a', 'one');
    expect(await identify('a:one')).toMatchObject({ agent: 'a' });
    expect(await identify('a:lease')).toMatchObject({ code: 'agent_auth_required' });
    const { id } = await lease('lease');
    expect(await identify('a:lease')).toMatchObject({ lease: { id } });
  });

  it.each<[string, (store: Store, id: string) => Promise<unknown>, string]>([
    ['lease is revoked', (store, id) => store.leases.revoke({ id }, start), 'lease_expired'],
    ['agent is disabled', (store) => store.agents.change('a', { disabledAt: start }), 'agent_auth_required'],
    ['agent is removed', (store) => store.agents.remove('a'), 'agent_auth_required'],
    ['lease is removed', (store) => store.leases.removeEnded(Infinity), 'agent_auth_required'],
  ])('refuses a lease that was read before its %s', async (_what, change, code) => {
    const { store, identify, rights, lease } = await setup();
    await addAgent(store, 'a', 'one');
    const { id } = await lease('lease');
    await identify('a:one');
    rights.holder.mockImplementationOnce(async (hash) => {
      const held = await store.rights.holder(hash);
      await change(store, id);
      return held;
    });
    expect(await identify('a:lease')).toMatchObject({ code });
    expect(await identify('a:lease')).toMatchObject({ code });
  });

  it('gives a token of a removed agent no rights of a new agent with its name', async () => {
    const { store, identify, lease } = await setup();
    await addAgent(store, 'a', 'one', { bindings: [] });
    await lease('lease');
    for (const secret of ['one', 'lease']) await identify(`a:${secret}`);
    await store.agents.remove('a');
    await addAgent(store, 'a', 'new');
    expect(await identify('a:new')).toMatchObject({ agent: 'a' });
    for (const secret of ['one', 'lease'])
      expect(await identify(`a:${secret}`)).toMatchObject({ code: 'agent_auth_required' });
  });

  it('reads an agent with more bindings than its bytes once for a tunnel, until a right changes', async () => {
    const { store, uses, time, rights } = await setup();
    const bindings = Array.from(
      { length: 200 },
      (_, index) => ({ kind: 'user', value: `u${index}` }) as const,
    );
    await addAgent(store, 'a', 'one', { bindings });
    const parts = { store: { ...store, rights }, grants: grantsIn(store), now: time.now, uses };
    const register = createAgentAuthenticator({ ...parts, cacheBytes: 20_000 });
    const presented = basic('a:one');
    const identify = async () => known(await register.identify(presented, near));
    // The first read learns the revision of the rights.
    await identify();
    const first = await identify();
    expect(await identify()).toBe(first);
    expect(rights.holder).toHaveBeenCalledTimes(2);
    await store.agents.change('a', { disabledAt: start });
    expect(await register.identify(presented, near)).toMatchObject({ code: 'agent_auth_required' });
  });

  it('keeps the rights that were used last, within its bytes', async () => {
    const { store, uses, time, rights } = await setup();
    const cacheBytes = 2 * 10_000;
    const spied = { ...store, rights };
    const parts = { store: spied, grants: grantsIn(store), cacheBytes, now: time.now, uses };
    const register = createAgentAuthenticator(parts);
    const identify = async (agent: string) => register.identify(basic(`${agent}:${agent}`), near);
    const names = Array.from({ length: 10 }, (_, index) => `agent-${index}`);
    for (const agent of names) {
      await addAgent(store, agent, agent);
      expect(await identify(agent)).toMatchObject({ agent });
    }
    expect(await identify('agent-9')).toMatchObject({ agent: 'agent-9' });
    expect(rights.holder).toHaveBeenCalledTimes(10);
    expect(await identify('agent-0')).toMatchObject({ agent: 'agent-0' });
    expect(rights.holder).toHaveBeenCalledTimes(11);
  });

  it('returns the same identity for the same selectors of callers without a token', async () => {
    const { register } = await setup();
    const presented = basic('+user=alice:');
    const first = known(await register.identify(presented, near));
    expect(await register.identify(presented, near)).toBe(first);
    expect(await register.identify(basic('+user=alice:'), near)).not.toBe(first);
  });

  it('fails when the store is unavailable, even for an agent that it has identified before', async () => {
    const { store, identify, rights } = await setup();
    await addAgent(store, 'a', 'one');
    await identify('a:one');
    await store.agents.change('a', { labels: ['x'] });
    rights.holder.mockRejectedValueOnce(new SidekeyError('store_unavailable', 'Gone.'));
    await expect(identify('a:one')).rejects.toMatchObject({ code: 'store_unavailable' });
    expect(await identify('a:one')).toMatchObject({ agent: 'a' });
  });

  it('refuses tokens and leases of a disabled agent, with the command that enables it', async () => {
    const { store, identify, lease } = await setup();
    await addAgent(store, 'a', 'one');
    await lease('lease');
    await store.agents.change('a', { disabledAt: start });
    for (const secret of ['one', 'lease'])
      expect(await identify(`a:${secret}`)).toMatchObject({
        code: 'agent_auth_required',
        hint: hintOfText('sidekey agent set a --enable'),
      });
    await store.agents.change('a', { disabledAt: null });
    expect(await identify('a:one')).toMatchObject({ agent: 'a' });
  });

  it('refuses a token from the millisecond of its end, and a revoked token', async () => {
    const { store, time, identify } = await setup();
    await addAgent(store, 'a', 'one');
    const token = tokenRecord({ agent: 'a', label: 'ci', hash: hashToken('two'), expiresAt: start + 1_000 });
    await store.agentTokens.add(token, null);
    await time.advance(999);
    expect(await identify('a:two')).toMatchObject({ agent: 'a' });
    await time.advance(1);
    expect(await identify('a:two')).toMatchObject({
      code: 'agent_auth_required',
      message: expect.stringMatching(/^This token of the agent a ended at 202[67]-\S+ \S+:01 \S+\.$/),
      hint: hintOfText('for a new one: sidekey agent rotate a --token-label ci'),
    });
    await store.agentTokens.revoke('a', 'main', time.now());
    expect(await identify('a:one')).toMatchObject({ message: 'This token of the agent a was revoked.' });
  });

  it('reports the agent and the lease of an expired permission', async () => {
    const { store, time, register, lease } = await setup();
    await addAgent(store, 'a', 'one');
    const { id } = await lease('lease');
    await time.advance(15 * minute);
    const seen = vi.fn();
    await register.identify(basic('a:lease'), { ...near, heard: { identity: seen } });
    expect(seen).toHaveBeenCalledExactlyOnceWith(
      expect.objectContaining({ agent: 'a', lease: expect.objectContaining({ id }) }),
    );
  });
});

describe('a lease', () => {
  it('is accepted as the password of its agent, as a password without a name, and as Bearer', async () => {
    const { store, register, identify, lease } = await setup();
    await addAgent(store, 'a', 'one');
    const { id, expiresAt } = await lease('lease', { purpose: 'a report' });
    const expected = { agent: 'a', lease: { id, purpose: 'a report', expiresAt } };
    expect(await identify('a:lease')).toMatchObject(expected);
    expect(await identify(':lease')).toMatchObject(expected);
    expect(
      await register.identify(readPresented(['Proxy-Authorization', 'Bearer lease']), near),
    ).toMatchObject(expected);
  });

  it('reaches only grants that are both in the lease and bound to the agent now', async () => {
    const { store, identify, lease, grant, other } = await setup();
    await addAgent(store, 'a', 'one', { bindings: [{ kind: 'user', value: 'alice' }] });
    await lease('lease', { grants: [grant.id, other.id] });
    const reached = async (userInfo: string) => {
      const { reaches } = known(await identify(userInfo));
      return [grant, other].map(reaches);
    };
    expect(await reached('a:lease')).toEqual([true, false]);
    await store.bindings.add('a', [{ kind: 'user', value: 'bob' }], start);
    expect(await reached('a:lease')).toEqual([true, true]);
    await lease('narrow', { grants: [other.id] });
    expect(await reached('a:narrow')).toEqual([false, true]);
    await store.bindings.remove('a', [{ kind: 'user', value: 'alice' }]);
    expect(await reached('a:lease')).toEqual([false, true]);
  });

  it('is refused with lease_expired after its end, with the command that renews it', async () => {
    const { store, time, identify, lease } = await setup();
    await addAgent(store, 'a', 'one');
    const { id } = await lease('lease');
    await time.advance(15 * minute - 1);
    expect(await identify('a:lease')).toMatchObject({ agent: 'a' });
    await time.advance(1);
    expect(await identify('a:lease')).toMatchObject({
      code: 'lease_expired',
      message: expect.stringContaining(`The lease ${id} of a ended at 202`),
      hint: hintOfText(`sidekey lease renew ${id}`),
    });
    await store.leases.renew(id, { at: time.now(), expiresAt: time.now() + minute, moreUses: 0 });
    expect(await identify('a:lease')).toMatchObject({ agent: 'a' });
    await store.leases.revoke({ id }, time.now());
    expect(await identify('a:lease')).toMatchObject({
      code: 'lease_expired',
      message: expect.stringContaining('was revoked'),
      hint: hintOfText(/sidekey lease create --agent a/),
    });
  });

  it('that ended long ago is expired until it is renewed', async () => {
    const { store, time, identify, lease } = await setup();
    await addAgent(store, 'a', 'one');
    const { id } = await lease('lease', { expiresAt: start - 86_400_001 });
    expect(await identify('a:lease')).toMatchObject({ code: 'lease_expired' });
    await store.leases.renew(id, { at: time.now(), expiresAt: start + minute, moreUses: 0 });
    expect(await identify('a:lease')).toMatchObject({ agent: 'a' });
  });

  it('ends after its idle time, which each request starts again', async () => {
    const { store, time, identify, lease, leases } = await setup();
    await addAgent(store, 'a', 'one');
    const { id } = await lease('lease', { idleMs: 5 * minute });
    for (let request = 0; request < 2; request += 1) {
      await time.advance(5 * minute - 1);
      expect(await identify('a:lease')).toMatchObject({ agent: 'a' });
    }
    expect(leases.get).not.toHaveBeenCalled();
    await time.advance(5 * minute);
    expect(await identify('a:lease')).toMatchObject({
      code: 'lease_expired',
      message: expect.stringContaining('was not used for 300 s'),
      hint: hintOfText(`sidekey lease renew ${id}`),
    });
    expect(await identify('a:lease')).toBeInstanceOf(SidekeyError);
  });

  it('does not become idle while another process serves its requests, at any interval', async () => {
    const { store, time, open, identify, lease } = await setup();
    const second = await open();
    await addAgent(store, 'a', 'one');
    await lease('lease', { idleMs: minute, expiresAt: start + 86_400_000 });
    // Pauses of every length up to the idle time, with short ones before a long one.
    for (const pause of [59_999, 1, 29_999, 20_000, 59_000, 10_000, 100, 45_000, 30_000, 59_999]) {
      await time.advance(pause);
      expect(await identify('a:lease')).toMatchObject({ agent: 'a' });
      await time.advance(59_999);
      // The second process must read the use of the first, or it would refuse.
      expect(await second.identify('a:lease')).toMatchObject({ agent: 'a' });
      await time.advance(59_999);
      expect(await identify('a:lease')).toMatchObject({ agent: 'a' });
    }
    await time.advance(minute);
    expect(await second.identify('a:lease')).toMatchObject({ code: 'lease_expired' });
    expect(await identify('a:lease')).toMatchObject({ code: 'lease_expired' });
  });

  it('that another process used just before the idle end is accepted in the next moment', async () => {
    const { store, time, open, identify, lease } = await setup();
    const second = await open();
    await addAgent(store, 'a', 'one');
    await lease('lease', { idleMs: minute });
    await time.advance(minute - 1);
    expect(await identify('a:lease')).toMatchObject({ agent: 'a' });
    await time.advance(2);
    expect(await second.identify('a:lease')).toMatchObject({ agent: 'a' });
  });

  it('with a maximum allows exactly that number of requests across processes', async () => {
    const { store, open, identify, lease, grant, rights } = await setup();
    const second = await open();
    await addAgent(store, 'a', 'one');
    const { id } = await lease('lease', { maxUses: 5 });
    const callers = [known(await identify('a:lease')), known(await second.identify('a:lease'))];
    const answers = await Promise.all(
      Array.from({ length: 12 }, async (_, index) => callers[index % 2]!.spend(grant)),
    );
    expect(answers.filter((answer) => answer === null)).toHaveLength(5);
    for (const answer of answers.filter((it) => it !== null)) {
      expect(answer).toMatchObject({
        code: 'lease_expired',
        message: `The lease ${id} of a is used up: it was for 5 requests, which were made.`,
        hint: hintOfText(`sidekey lease renew ${id} --uses 5`),
      });
    }
    // The authenticator refuses it too, and counting did not read the rights again.
    expect(await identify('a:lease')).toMatchObject({ code: 'lease_expired' });
    expect(rights.holder).toHaveBeenCalledTimes(1);
    await store.leases.renew(id, { at: start, expiresAt: start + minute, moreUses: 1 });
    expect(await known(await identify('a:lease')).spend(grant)).toBeNull();
    expect(await identify('a:lease')).toMatchObject({ code: 'lease_expired' });
  });

  it('without a maximum writes no count to the store', async () => {
    const { store, identify, lease, leases, grant } = await setup();
    await addAgent(store, 'a', 'one');
    await lease('lease');
    expect(await known(await identify('a:lease')).spend(grant)).toBeNull();
    expect(leases.use).not.toHaveBeenCalled();
  });
});

describe('a permission that ends while a request waits', () => {
  const github: Binding = { kind: 'provider', value: 'github' };

  it.each([
    [
      'the agent was disabled',
      'agent_auth_required',
      (store: Store) => store.agents.change('a', { disabledAt: 1 }),
    ],
    ['the agent was removed', 'agent_auth_required', (store: Store) => store.agents.remove('a')],
    ['the lease was revoked', 'lease_expired', (store: Store) => store.leases.revoke({ agent: 'a' }, 1)],
    ['the binding was removed', 'grant_missing', (store: Store) => store.bindings.remove('a', [github])],
  ])('refuses the credential: %s', async (_what, code, change) => {
    const { store, identify, lease, grant } = await setup();
    await addAgent(store, 'a', 'one', { bindings: [github] });
    await lease('lease');
    const identity = known(await identify('a:lease'));
    expect(await identity.spend(grant)).toBeNull();
    await change(store);
    expect(await identity.spend(grant)).toMatchObject({ code });
  });

  it('refuses the credential: the lease has ended', async () => {
    const { store, time, identify, lease, grant } = await setup();
    await addAgent(store, 'a', 'one');
    await lease('lease');
    const identity = known(await identify('a:lease'));
    await time.advance(15 * minute);
    expect(await identity.spend(grant)).toMatchObject({ code: 'lease_expired' });
  });

  it('returns the current labels of an agent, and no labels of a removed agent', async () => {
    const { store, register, identify, lease } = await setup();
    await addAgent(store, 'a', 'one', { labels: ['ci'] });
    await lease('lease');
    const callers = [known(await identify('a:one')), known(await identify('a:lease'))];
    const now = () => Promise.all(callers.map(async (caller) => caller.labelsNow()));
    expect(await now()).toEqual([['ci'], ['ci']]);
    await store.agents.change('a', { labels: ['prod'] });
    expect(await now()).toEqual([['prod'], ['prod']]);
    expect(callers.map(({ labels }) => labels)).toEqual([['ci'], ['ci']]);
    await store.agents.remove('a');
    expect(await now()).toEqual([[], []]);
    expect(await known(await register.identify(readPresented([]), near)).labelsNow()).toEqual([]);
  });

  it('returns the current hosts of an agent and its lease, and no hosts of a removed agent', async () => {
    const { store, register, identify, lease } = await setup();
    await addAgent(store, 'a', 'one');
    await lease('lease');
    const caller = known(await identify('a:lease'));
    const refusal = async () => egressRefusal(caller, { scheme: 'https', host: 'pypi.org', port: 443 });
    expect(await refusal()).toBeNull();
    await store.bindings.add('a', [{ kind: 'egress', value: 'npmjs.org' }], start);
    expect(await refusal()).toMatchObject({ code: 'domain_not_allowed' });
    await store.bindings.add('a', [{ kind: 'egress', value: 'pypi.org' }], start);
    expect(await refusal()).toBeNull();
    await store.agents.remove('a');
    expect(await refusal()).toMatchObject({ code: 'domain_not_allowed' });
    expect(await known(await register.identify(readPresented([]), near)).egressNow()).toEqual([]);
  });

  it('returns the labels of the parent for a minted grant that was read before they changed', async () => {
    const { store, uses, time, grant } = await setup();
    await store.grantPolicies.set(grant.id, { labels: ['prod'] });
    const minted = grantRecord({ name: 'minted', parent: grant.id, labels: ['before'] });
    const grants = { current: async (id: string) => (id === minted.id ? minted : store.grants.get(id)) };
    const register = createAgentAuthenticator({ store, grants, now: time.now, uses });
    const nobody = known(await register.identify(readPresented([]), near));
    expect(await nobody.grantLabels(minted)).toEqual(['prod']);
  });

  it('refuses every kind of caller with grant_expired when the grant has ended', async () => {
    const { store, time, register, identify, lease, grant, other } = await setup();
    await addAgent(store, 'a', 'one');
    await lease('lease');
    await store.grantPolicies.set(grant.id, { expiresAt: start + minute, labels: ['prod'] });
    const nobody = known(await register.identify(readPresented([]), near));
    const callers = [nobody, known(await identify('a:one')), known(await identify('a:lease'))];
    for (const caller of callers) {
      expect(await caller.spend(grant)).toBeNull();
      expect(await caller.grantLabels(grant)).toEqual(['prod']);
      expect(await caller.grantLabels(other)).toEqual([]);
    }
    await time.advance(minute);
    for (const caller of callers) {
      expect(await caller.spend(grant)).toMatchObject({
        code: 'grant_expired',
        hint: hintOfText('sidekey grant set work --user alice --ttl 30d'),
      });
    }
    expect(await nobody.spend(other)).toBeNull();
    for (const { id } of [grant, other]) await store.grants.remove(id);
    for (const caller of callers) expect(await caller.spend(other)).toMatchObject({ code: 'grant_missing' });
  });
});

describe('the permission of an open connection', () => {
  const open = { mode: 'same_user', used: false } as const;

  it.each<[string, (store: Store, grantId: string) => Promise<unknown>, string]>([
    [
      'the agent is disabled',
      (store) => store.agents.change('a', { disabledAt: start }),
      'agent_auth_required',
    ],
    ['the agent is removed', (store) => store.agents.remove('a'), 'agent_auth_required'],
    ['the lease is revoked', (store) => store.leases.revoke({ agent: 'a' }, start), 'lease_expired'],
    ['the grant is unbound', (store) => store.bindings.remove('a', [everything]), 'grant_missing'],
    [
      'the grant has ended',
      (store, grantId) => store.grantPolicies.set(grantId, { expiresAt: start }),
      'grant_expired',
    ],
  ])('ends when %s', async (_what, change, code) => {
    const { store, identify, lease, grant } = await setup();
    await addAgent(store, 'a', 'one', { bindings: [everything] });
    await lease('lease');
    const { holds } = known(await identify('a:lease'));
    expect(await holds(grant, open)).toBe(start + 15 * minute);
    await change(store, grant.id);
    expect(await holds(grant, open)).toMatchObject({ code });
  });

  it('ends when the token is revoked or expires, even without a grant', async () => {
    const { store, time, identify } = await setup();
    await addAgent(store, 'a', 'one');
    const hash = hashToken('two');
    await store.agentTokens.add(tokenRecord({ agent: 'a', hash, expiresAt: start + minute }), null);
    const [own, ending] = [known(await identify('a:one')), known(await identify('a:two'))];
    expect(await own.holds(null, open)).toBe(Infinity);
    expect(await ending.holds(null, open)).toBe(start + minute);
    await time.advance(minute);
    expect(await ending.holds(null, open)).toMatchObject({ code: 'agent_auth_required' });
    await store.agentTokens.revoke('a', null, time.now());
    expect(await own.holds(null, open)).toMatchObject({ code: 'agent_auth_required' });
  });

  it('ends at the earliest of its end times, including the expiry of the grant for callers without a token', async () => {
    const { store, register, identify, lease, grant } = await setup();
    await addAgent(store, 'a', 'one');
    await lease('lease');
    await store.grantPolicies.set(grant.id, { expiresAt: start + minute });
    const nobody = known(await register.identify(readPresented([]), near));
    for (const caller of [nobody, known(await identify('a:lease'))])
      expect(await caller.holds(grant, open)).toBe(start + minute);
    expect(await nobody.holds(null, open)).toBe(Infinity);
    expect(await nobody.holds(null, { mode: 'required', used: false })).toMatchObject({
      code: 'agent_auth_required',
    });
  });

  it('lasts to the end of the lease after its last use, and counts no use', async () => {
    const { store, time, identify, lease, grant } = await setup();
    await addAgent(store, 'a', 'one');
    const { id } = await lease('lease', { maxUses: 1 });
    const { spend, holds } = known(await identify('a:lease'));
    expect(await spend(grant)).toBeNull();
    expect(await identify('a:lease')).toMatchObject({ code: 'lease_expired' });
    for (let i = 0; i < 3; i += 1) expect(await holds(grant, open)).toBe(start + 15 * minute);
    expect(await store.leases.get(id)).toMatchObject({ uses: 1 });
    await time.advance(15 * minute);
    expect(await holds(grant, open)).toMatchObject({ code: 'lease_expired' });
  });

  it('keeps a lease from becoming idle only while bytes are transferred', async () => {
    const { time, store, identify, lease, grant } = await setup();
    await addAgent(store, 'a', 'one');
    await lease('lease', { idleMs: minute });
    const { holds } = known(await identify('a:lease'));
    for (let i = 0; i < 5; i += 1) {
      await time.advance(minute / 2);
      expect(await holds(grant, { mode: 'same_user', used: true })).toBe(
        Math.min(time.now() + minute, start + 15 * minute),
      );
    }
    await time.advance(minute - 1);
    expect(await holds(grant, open)).toBe(time.now() + 1);
    await time.advance(1);
    expect(await holds(grant, open)).toMatchObject({ code: 'lease_expired' });
  });
});
