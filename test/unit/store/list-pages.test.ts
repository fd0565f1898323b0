import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import type { Store } from '../../../src/store/store.ts';
import { proposal } from '../../support/question.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const first = { limit: 3 };
const grants = { after: { name: 'work', user: 'alice' }, limit: 3 };
const leases = { after: { expiresAt: 5, id: 'a' }, limit: 3 };
const lease = 'SEARCH leases USING INDEX leases_';
const keyByName = 'SEARCH api_keys USING INDEX sqlite_autoindex_api_keys_1 (';
const question = 'SCAN questions USING INDEX questions_';

test.each<[string, (store: Store) => Promise<unknown>, string]>([
  ['grants', (store) => store.grants.find(first), 'SCAN grants USING INDEX grants_name'],
  ['more grants', (store) => store.grants.find(grants), 'SEARCH grants USING INDEX grants_name ('],
  [
    'grants of a user',
    (store) => store.grants.find({ users: ['alice'], ...first }),
    'SEARCH grants USING INDEX',
  ],
  [
    'more grants of a user',
    (store) => store.grants.find({ users: ['alice'], ...grants }),
    'SEARCH grants USING INDEX sqlite_autoindex_grants_2 (user=? AND name>?)',
  ],
  ['leases', (store) => store.leases.find(first), 'SCAN leases USING INDEX leases_expires_at_id'],
  [
    'active leases',
    (store) => store.leases.find({ endsAfter: 5, ...first }),
    `${lease}expires_at_id_revoked_at (expires_at>?)`,
  ],
  ['more leases', (store) => store.leases.find(leases), `${lease}expires_at_id_revoked_at (`],
  [
    'active leases of an agent',
    (store) => store.leases.find({ agent: 'ci', endsAfter: 5, ...first }),
    `${lease}agent_expires_at_id (agent=? AND expires_at>?)`,
  ],
  [
    'more leases of an agent',
    (store) => store.leases.find({ agent: 'ci', ...leases }),
    `${lease}agent_expires_at_id (agent=? AND`,
  ],
  [
    'counts of leases',
    (store) => store.leases.endings(1, [5]),
    'SEARCH leases USING COVERING INDEX leases_expires_at_id_revoked_at',
  ],
  [
    'more agents',
    ({ agents }) => agents.inList(5, { after: 'ci', ...first }),
    'SEARCH leases USING INDEX leases_agent_expires_at_id (agent=?)',
  ],
  ['proposals', ({ proposals }) => proposals.list(first), 'SCAN proposals USING INDEX proposals_asked_at_id'],
  [
    'more proposals',
    ({ proposals }) => proposals.list({ after: { askedAt: 5, id: 'a' }, limit: 3 }),
    'SEARCH proposals USING INDEX proposals_asked_at_id (',
  ],
  [
    'more proposals of an agent',
    ({ proposals }) => proposals.list({ agent: 'ci', after: { askedAt: 5, id: 'a' }, limit: 3 }),
    'SEARCH proposals USING INDEX proposals_agent_asked_at_id (agent=? AND (asked_at,id)>(?,?))',
  ],
  [
    'proposals of the same change',
    ({ proposals }) => proposals.propose(proposal(), 1),
    'SEARCH proposals USING INDEX proposals_agent_lease_asked_at (agent=? AND lease=?)',
  ],
  [
    'proposals that limit a new one',
    ({ proposals }) => proposals.propose(proposal(), 1),
    'SEARCH proposals USING COVERING INDEX proposals_agent_outcome_expires_at (agent=? AND outcome=?',
  ],
  [
    'counts of proposals',
    ({ proposals }) => proposals.countWaiting(5),
    'SEARCH proposals USING COVERING INDEX proposals_outcome_until_expires_at (outcome=?)',
  ],
  [
    'ended proposals',
    ({ proposals }) => proposals.removeEnded(5),
    'SEARCH proposals USING INDEX proposals_ex',
  ],
  [
    'proposals in force of a caller',
    ({ proposals }) => proposals.inForce({ agent: 'ci', lease: 'a' }, 5),
    'SEARCH proposals USING INDEX proposals_agent_lease_asked_at (agent=? AND lease=?)',
  ],
  [
    'proposals in force of callers without a token',
    ({ proposals }) => proposals.inForce({ agent: null, lease: null }, 5),
    'SEARCH proposals USING INDEX proposals_agent_lease_asked_at (agent=? AND lease=?)',
  ],
  ['more API keys', ({ apiKeys }) => apiKeys.list({ after: { name: 'a' }, limit: 3 }), keyByName],
  ['an API key by name', ({ apiKeys }) => apiKeys.get('a'), keyByName],
  [
    'ended API keys of a person',
    ({ apiKeys }) => apiKeys.removeEnded('alice', 'login-', 5),
    'SEARCH api_keys USING INDEX api_keys_person_expires_at (person=? AND expires_at<?)',
  ],
  ['people', ({ people }) => people.list(first), 'SCAN people USING INDEX sqlite_auto'],
  [
    'more people',
    ({ people }) => people.list({ after: { name: 'a' }, limit: 3 }),
    'SEARCH people USING INDEX sqlite_auto',
  ],
  [
    'passkeys of people',
    ({ people }) => people.passkeys.list('alice', 'bob'),
    'SEARCH passkeys USING INDEX passkeys_person_created_at_id (person=?)',
  ],
  [
    'a node by ID or name',
    ({ nodes }) => nodes.find('proxy'),
    'SEARCH nodes USING INDEX sqlite_autoindex_nodes_2 (name=?)',
  ],
  ['waiting requests', ({ approvals }) => approvals.waiting(5, first), `${question}waiting`],
  [
    'more waiting requests',
    ({ approvals }) => approvals.waiting(5, { after: { askedAt: 5, id: 'a' }, limit: 3 }),
    `SEARCH questions USING INDEX questions_waiting ((asked_at,id)>(?,?))`,
  ],
  ['counts of waiting requests', ({ approvals }) => approvals.countWaiting(5), `${question}waiting`],
  [
    'counts of waiting requests of an agent',
    ({ approvals }) => approvals.countWaiting(5, 'ci'),
    'SEARCH questions USING INDEX questions_agent_answer (agent=? AND answer=?)',
  ],
  [
    'standing approvals',
    ({ approvals }) => approvals.listStanding(5, first),
    'SEARCH questions USING INDEX questions_stands_answered_at_id (stands=?)',
  ],
  [
    'more standing approvals',
    ({ approvals }) => approvals.listStanding(5, { after: { at: 5, id: 'a' }, limit: 3 }),
    'SEARCH questions USING INDEX questions_stands_answered_at_id (stands=? AND (answered_at,id)>(?,?))',
  ],
  [
    'standing approvals of a caller',
    ({ approvals }) => approvals.standing({ agent: 'ci', lease: null, grantId: 'a', ruleKey: 'b' }, 5),
    'SEARCH questions USING INDEX questions_grant_id_agent_lease_stands_answered_at_id (grant_id=? AND agent=? AND',
  ],
  [
    'ended requests',
    ({ approvals }) => approvals.removeEnded(5),
    'SEARCH questions USING INDEX questions_asked',
  ],
  [
    'sessions',
    ({ sealed }) => sealed.sessions({ after: 'a', limit: 3 }),
    'SEARCH sessions USING INDEX sqlite_auto',
  ],
  [
    'ended sessions',
    ({ sessions }) => sessions.removeEnded(5),
    'SEARCH sessions USING INDEX sessions_expires_at',
  ],
])('a page of %s is read by an index, without a sort', async (_, read, expected) => {
  const prepare = vi.spyOn(DatabaseSync.prototype, 'prepare');
  onTestFinished(() => prepare.mockRestore());
  const file = join(await tempFolder(), 'store', 'sidekey.db');
  const store = await openSqliteStore(file, { now: () => 0 });
  onTestFinished(() => store.close());
  prepare.mockClear();
  await read(store);
  const texts = prepare.mock.calls.map(([text]) => text);
  using database = new DatabaseSync(file, { readOnly: true });
  const steps = texts.flatMap((text) =>
    database
      .prepare(`explain query plan ${text}`)
      .all()
      .map(({ detail }) => String(detail)),
  );
  expect(steps.filter((step) => step.startsWith(expected))).not.toEqual([]);
  // `SCAN recent` reads the rows of a subquery, and `SCAN CONSTANT ROW` no table.
  const unordered = steps.filter(
    (step) => /^(SCAN|USE TEMP B-TREE)/.test(step) && !/USING (COVERING )?INDEX|recent|CONSTANT/.test(step),
  );
  expect(unordered).toEqual([]);
});
