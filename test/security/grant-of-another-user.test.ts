/** A grant that a user adds, renames or removes changes nothing for callers of other users. */
import { describe, expect, test } from 'vitest';
import { hashToken } from '../../src/agents/authentication.ts';
import { type Binding, everything } from '../../src/domain/lease.ts';
import type { Grant } from '../../src/domain/grant.ts';
import { agentHolder, placeholderCodes, plainForm } from '../../src/proxy/placeholders/codes.ts';
import { openClient } from '../support/raw-client.ts';
import { addAgent, leaseRecord } from '../support/rights.ts';
import { startSidekey } from '../support/sidekey.ts';
import { startUpstream } from '../support/upstream.ts';

type Users = Readonly<Record<'alice' | 'bob', Grant>>;

/** A caller, and whose grant it uses: `none` if the request is refused with `grant_missing`. */
interface Row {
  readonly caller: string;
  readonly user?: string;
  readonly bindings?: (grants: Users) => readonly Binding[];
  /** Ids in a lease; null: all of the agent. */
  readonly lease?: (grants: Users) => readonly string[] | null;
  readonly selectors?: (grants: Users) => string;
  /** With grants of alice, of bob, and without an owner. */
  readonly withUnowned: string;
  /** With grants of alice and of bob alone. */
  readonly without: string;
}

const provider: Binding = { kind: 'provider', value: 'acme' };
const ofUser = (value: string): Binding => ({ kind: 'user', value });
const ofGrant = ({ id: value }: Grant): Binding => ({ kind: 'grant', value });
const label: Binding = { kind: 'label', value: 'for-bots' };

const rows: readonly Row[] = [
  { caller: 'no token', withUnowned: 'nobody', without: 'none' },
  {
    caller: 'no token, +grant=work',
    selectors: () => '+grant=work',
    withUnowned: 'nobody',
    without: 'none',
  },
  { caller: 'no token, +user=alice', selectors: () => '+user=alice', withUnowned: 'alice', without: 'alice' },
  {
    caller: 'no token, +grant=ID of alice',
    selectors: ({ alice }) => `+grant=${alice.id}`,
    withUnowned: 'alice',
    without: 'alice',
  },
  { caller: 'bound by provider', bindings: () => [provider], withUnowned: 'nobody', without: 'none' },
  {
    caller: 'bound by provider, +user=bob',
    bindings: () => [provider],
    selectors: () => '+user=bob',
    withUnowned: 'bob',
    without: 'bob',
  },
  { caller: 'bound to everything', bindings: () => [everything], withUnowned: 'nobody', without: 'none' },
  {
    caller: 'bound by provider, for alice',
    user: 'alice',
    bindings: () => [provider],
    withUnowned: 'alice',
    without: 'alice',
  },
  {
    caller: 'bound to everything, for alice',
    user: 'alice',
    bindings: () => [everything],
    withUnowned: 'alice',
    without: 'alice',
  },
  {
    caller: 'bound to everything, for a user without a grant',
    user: 'carol',
    bindings: () => [everything],
    withUnowned: 'nobody',
    without: 'none',
  },
  {
    caller: 'bound to the user alice',
    bindings: () => [ofUser('alice')],
    withUnowned: 'alice',
    without: 'alice',
  },
  {
    caller: 'bound to the users alice and mallory',
    bindings: () => [ofUser('alice'), ofUser('mallory')],
    withUnowned: 'none',
    without: 'none',
  },
  {
    caller: 'bound to the users alice and mallory, +user=alice',
    bindings: () => [ofUser('alice'), ofUser('mallory')],
    selectors: () => '+user=alice',
    withUnowned: 'alice',
    without: 'alice',
  },
  {
    caller: 'bound to the grant of alice and to the user mallory',
    bindings: ({ alice }) => [ofUser('mallory'), ofGrant(alice)],
    withUnowned: 'alice',
    without: 'alice',
  },
  {
    caller: 'bound by provider and to the user bob',
    bindings: () => [provider, ofUser('bob')],
    withUnowned: 'nobody',
    without: 'bob',
  },
  {
    caller: 'bound by the label of the grant of bob',
    bindings: () => [label],
    withUnowned: 'bob',
    without: 'bob',
  },
  {
    caller: 'with a lease for the grant of bob',
    bindings: () => [provider],
    lease: ({ bob }) => [bob.id],
    withUnowned: 'bob',
    without: 'bob',
  },
  {
    caller: 'with a lease for everything',
    bindings: () => [everything],
    lease: () => null,
    withUnowned: 'nobody',
    without: 'none',
  },
];

async function setup(reference: 'acme' | 'work', hasUnowned: boolean) {
  const seen: string[] = [];
  const upstream = await startUpstream((request, response) => {
    seen.push(request.headers.authorization?.replace('Bearer token-of-', '') ?? 'no credential');
    response.end();
  });
  const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: reference } } });
  const { store, grants } = sidekey.proxy.state;
  const add = (user: string, name = 'work', of = 'acme') =>
    sidekey.grant([upstream.authority], {
      name,
      user: user === 'nobody' ? 'default' : user,
      provider: of,
      credential: { type: 'api_key', value: `token-of-${user}` },
    });
  const users = { alice: await add('alice'), bob: await add('bob') };
  if (hasUnowned) await add('nobody');
  await store.grantPolicies.set(users.bob.id, { labels: [label.value] });
  for (const [index, { user = null, bindings, lease }] of rows.entries()) {
    if (bindings === undefined) continue;
    await addAgent(store, `a${index}`, `token-${index}`, { user, bindings: bindings(users) });
    if (lease === undefined) continue;
    const at = Date.now();
    const times = { createdAt: at, expiresAt: at + 900_000 };
    const tokenHash = hashToken(`lease-${index}`);
    await store.leases.insert(leaseRecord({ agent: `a${index}`, tokenHash, grants: lease(users), ...times }));
  }

  async function get(url: string, host: string, userInfo: string) {
    const client = await openClient(sidekey);
    client.send(
      `GET ${url} HTTP/1.1\r\nHost: ${host}\r\nProxy-Authorization: Basic ${Buffer.from(userInfo).toString('base64')}\r\n\r\n`,
    );
    const answer = await client.response();
    client.socket.destroy();
    return answer;
  }

  /** Returns whose grant each caller uses, and whose one the discovery says that it uses. */
  async function answers() {
    const used: Record<string, readonly unknown[]> = {};
    for (const [index, { caller, bindings, lease, selectors }] of rows.entries()) {
      const name = bindings === undefined ? '' : `a${index}`;
      const token = lease === undefined ? `token-${index}` : `lease-${index}`;
      const userInfo = `${name}${selectors?.(users) ?? ''}:${bindings === undefined ? '' : token}`;
      const { reason } = await get(`${upstream.url}/`, upstream.authority, userInfo);
      const { body } = await get('http://sidekey.internal/index.json', 'sidekey.internal', userInfo);
      const [host] = (
        JSON.parse(body) as {
          hosts: { chosen_user: string | null; problem: { code: string } | null }[];
        }
      ).hosts;
      const own = reason === 'grant_missing' ? 'none' : (seen.pop() ?? reason);
      const told = host?.problem === null ? host.chosen_user : host?.problem?.code;
      used[caller] = [own, told?.replace('default', 'nobody').replace('grant_missing', 'none')];
    }
    return used;
  }
  return { add, answers, remove: (id: string) => grants.remove(id) };
}

const references = [
  ['the provider', 'acme'],
  ['a name', 'work'],
] as const;

describe.each(references)('at a domain whose grant is %s', (_name, reference) => {
  test.each([
    ['with a grant without an owner', true],
    ['without any grant that has no owner', false],
  ])(
    'a grant of another user does not change the chosen grant, %s',
    { timeout: 60_000 },
    async (_what, hasUnowned) => {
      const { add, answers, remove } = await setup(reference, hasUnowned);
      const expected = Object.fromEntries(
        rows.map(({ caller, withUnowned, without }) => {
          const whose = hasUnowned ? withUnowned : without;
          return [caller, [whose, whose]];
        }),
      );
      expect(await answers()).toEqual(expected);
      for (const [name, of] of [
        ['work', 'acme'],
        ['acme', 'acme'],
        ['another', 'acme'],
        ['work', 'elsewhere'],
        ['acme', 'work'],
      ]) {
        const { id } = await add('mallory', name, of);
        expect([name, of, await answers()]).toEqual([name, of, expected]);
        await remove(id);
        expect(await answers()).toEqual(expected);
      }
    },
  );
});

test.each([
  ['with a grant without an owner', true],
  ['without any grant that has no owner', false],
])('a placeholder says whose grant is meant, %s', async (_what, hasUnowned) => {
  const seen: (string | undefined)[] = [];
  const upstream = await startUpstream((request, response) => {
    seen.push(request.headers.authorization);
    response.end();
  });
  const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme' } } });
  const { store, vault } = sidekey.proxy.state;
  const add = (user: string) =>
    sidekey.grant([upstream.authority], {
      name: 'work',
      user,
      provider: 'acme',
      credential: { type: 'api_key', value: `token-of-${user}` },
    });
  const { id } = await add('alice');
  if (hasUnowned) await add('default');
  await addAgent(store, 'ci', 'token', { bindings: [everything] });
  const shown = placeholderCodes(vault).make(plainForm, agentHolder('ci'), id);
  const client = await openClient(sidekey);
  client.send(
    `GET ${upstream.url}/ HTTP/1.1\r\nHost: ${upstream.authority}\r\nProxy-Authorization: Basic ${Buffer.from('ci:token').toString('base64')}\r\nAuthorization: Bearer ${shown}\r\n\r\n`,
  );
  const { status, reason } = await client.response();
  client.socket.destroy();
  expect([status, reason, seen]).toEqual([200, 'OK', ['Bearer token-of-alice']]);
});
