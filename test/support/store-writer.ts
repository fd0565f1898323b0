import { writeSync } from 'node:fs';
import { everything } from '../../src/domain/lease.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import { agentRecord, tokenRecord } from './rights.ts';

/**
 * A process that writes to the store in `argv[2]` until it is killed: it replaces the grant in `argv[3]`
 * repeatedly, adds an agent named after each revision, and prints the revision after both are acknowledged.
 */
const [path = '', id = ''] = process.argv.slice(2);
const store = await openSqliteStore(path, { now: Date.now });
for (;;) {
  const grant = await store.grants.get(id);
  if (grant === null) throw new Error(`The grant ${id} is gone.`);
  const revision = grant.revision + 1;
  // Larger than a page, so that a partial write would be visible.
  const sealed = Buffer.alloc(10_000, `${revision} `);
  if (!(await store.grants.replace({ ...grant, revision, sealed }, grant.revision))) {
    throw new Error(`Somebody else wrote revision ${revision}.`);
  }
  const token = tokenRecord({ agent: `revision-${revision}` });
  await store.agents.insert(agentRecord({ name: token.agent }), { tokens: [token], bindings: [everything] });
  writeSync(1, `${revision}\n`);
}
