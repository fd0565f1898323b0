import { describe, expect, it, onTestFinished } from 'vitest';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { hintText } from '../../../src/lib/hint.ts';
import { changeGrant } from '../../../src/operations/grant.ts';
import { getPlaceholder } from '../../../src/operations/grant-placeholder.ts';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { agentRecord } from '../../support/rights.ts';
import { tempFolder } from '../../support/temp-folder.ts';

// Without the user, a command finds the grant of this name that belongs to the default user.
const grants = [grantRecord({ user: 'alice' }), grantRecord()];

/** Returns the hint of the failure of a call. */
async function hintOfFailure(call: () => unknown): Promise<string> {
  const failure: unknown = await Promise.resolve()
    .then(call)
    .catch((error: unknown) => error);
  if (failure instanceof SidekeyError && failure.hint !== undefined) return hintText(failure.hint);
  throw new Error('no failure with a hint');
}

async function storeOfGrants() {
  const store = await openSqliteStore(`${await tempFolder()}/sidekey.db`, { now: () => 0 });
  onTestFinished(() => store.close());
  await store.grants.insert(...grants);
  return store;
}

/** Parts of an operation that reads, with these agents. */
async function placeholderParts(agents: readonly string[]) {
  const store = await storeOfGrants();
  for (const name of agents) await store.agents.insert(agentRecord({ name }));
  const config = { proxy: { authentication: 'required' } };
  return { caller: { user: null }, vault: async () => ({}), config, store } as never;
}

const change = (input: object) => () => changeGrant.check?.({ grant: 'github', user: 'alice', ...input }, 0);

const get = (agents: readonly string[], input: object) => async () =>
  getPlaceholder.run(await placeholderParts(agents), { grant: 'github', user: 'alice', ...input }, 0);

describe('the command of a hint for a grant of alice, if the default user has a grant of the same name', () => {
  it('names alice for changes of the grant', async () => {
    await expect(hintOfFailure(change({}))).resolves.toBe(
      'sidekey grant set github --user alice --expires 30d; sidekey grant show github --user alice shows the present values',
    );
    await expect(hintOfFailure(change({ scopes: ['repo'], ttl: '30d' }))).resolves.toBe(
      'sidekey grant set github --user alice --scope repo',
    );
  });

  it('names alice for a placeholder, and binds her grant to the agent', async () => {
    await expect(hintOfFailure(get([], {}))).resolves.toBe(
      'sidekey grant show github --placeholder --user alice --agent AGENT',
    );
    await expect(hintOfFailure(get(['ci'], { agent: 'ci' }))).resolves.toBe(
      'sidekey agent bind ci --grant alice/github',
    );
  });

  it('names alice for the removal of a grant whose name is taken', async () => {
    const store = await storeOfGrants();
    const insert = (user: string) => () => store.grants.insert(grantRecord({ user }));
    const begin = 'Choose another name, or remove it first: sidekey grant remove github';
    await expect(hintOfFailure(insert('alice'))).resolves.toBe(`${begin} --user alice`);
    await expect(hintOfFailure(insert('default'))).resolves.toBe(begin);
  });
});
