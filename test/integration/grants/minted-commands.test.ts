/** Commands about minted grants, and about the grants that they belong to. */
import { expect, test } from 'vitest';
import { mintGrant } from '../../../src/grants/mint.ts';
import type { Home } from '../../support/command-line.ts';
import { machine, ok, opened } from '../../support/backup-machine.ts';
import { type Answer, homeWithProvider } from '../../support/provider-home.ts';

const minute = 60_000;

/** Mints grants of these secrets below the grant `work`. Returns their names. */
async function mint(at: Home, ...secrets: readonly string[]): Promise<readonly string[]> {
  const state = await opened(at);
  const parent = (await state.grants.named({ name: 'work', user: 'default' }))!;
  const names = [];
  for (const secret of secrets) {
    const request = {
      parent,
      mint: 'session',
      secret,
      expiresAt: null,
      maxMs: 14.5 * minute,
      audience: ['chat.acme.test'],
      isRevocable: false,
      lease: null,
      by: {},
    };
    names.push((await mintGrant(request, { ...state, now: Date.now })).grant.name);
  }
  await state.close();
  return names;
}

const namesIn = async (at: Home, args: readonly string[] = []) =>
  ((await at.json(['grant', 'list', ...args])) as { name: string }[]).map(({ name }) => name);

const refreshed: Answer = ({ form: { scope } }) => [
  200,
  { access_token: 'next', refresh_token: 'r-2', token_type: 'Bearer', expires_in: 3_600, scope },
];

/** A home with the grant `work` of the provider `desk`, whose refreshes return what they ask for. */
async function setup(answer = refreshed): Promise<Home> {
  const at = await homeWithProvider(answer, () => ({ client_id: 'sidekey', client_auth: 'none' }));
  const tokens = { type: 'oauth2', access_token: 'first', refresh_token: 'r-1', scope: 'read write' };
  await at.grant('work', tokens, ['--provider', 'desk']);
  return at;
}

test('lists fold minted grants under their parent', async () => {
  const at = await setup();
  const names = await mint(at, 'one', 'two');
  const list = await at.run(['grant', 'list']);
  expect(list.stdout).toMatch(/MINTED[^]*work .* 2 \(session, in 1[45] min/);
  expect(list.stdout).not.toContain(names[0]);
  const all = (await at.run(['grant', 'list', '--all'])).stdout;
  for (const name of names) expect(all).toContain(name);
  expect((await at.run(['grant', 'show', 'work'])).stdout).toMatch(/minted +2 \(session, in 1[45] min/);
  expect((await at.run(['grant', 'show', names[0]!])).stdout).toMatch(/minted by +session of [0-9a-f-]{36}/);
  const [work] = (await at.json(['grant', 'list'])) as {
    id: string;
    minted: { name: string }[];
  }[];
  expect(work).toMatchObject({ parent: null });
  expect(work!.minted.map(({ name }) => name).toSorted()).toEqual(names.toSorted());
  expect(await at.json(['grant', 'show', names[0]!])).toMatchObject({ parent: work!.id, minted: [] });
  expect((await at.run(['status'])).stdout).toMatch(/grants +1 active, 2 minted/);
});

test.each([
  ['removed', ['grant', 'remove', 'work'], []],
  ['revoked', ['grant', 'revoke', 'work'], ['work']],
  ['narrowed', ['grant', 'set', 'work', '--scope', 'read'], ['work']],
])('minted grants end when their parent is %s', async (_how, command, left) => {
  const at = await setup();
  await mint(at, 'one', 'two');
  expect(await namesIn(at, ['--all'])).toHaveLength(3);
  expect(await at.run(command)).toMatchObject({ exit: 0 });
  expect(await namesIn(at, ['--all'])).toEqual(left);
});

test('grants that were minted while their parent was narrowed end too', async () => {
  const wide: string[] = [];
  const at: Home = await setup(async (asked, count) => {
    wide.push(...(await mint(at, 'wide')));
    return refreshed(asked, count);
  });
  expect(await at.run(['grant', 'set', 'work', '--scope', 'read'])).toMatchObject({ exit: 0 });
  expect(await namesIn(at, ['--all'])).toEqual(['work']);
  expect(wide).toHaveLength(1);
});

test('a restore into a store in use writes no minted grant', async () => {
  const at = await machine('sqlite');
  await at.grant('work', { api_key: 'secret-of-the-key' });
  await mint(at, 'one');
  const file = at.at('backup.age');
  await at.backup(file);
  for (const name of await namesIn(at, ['--all'])) await at.run(['grant', 'remove', name]);
  expect(await at.restore(file, '--replace')).toMatchObject(ok);
  expect(await namesIn(at, ['--all'])).toEqual(['work']);
});
