/** The queries for rights: who may do what, until when. Each is one statement or one transaction. */
import type { Kysely } from 'kysely';
import {
  fromAgentRow,
  fromBindingRow,
  fromLeaseRow,
  fromPolicyRow,
  fromTokenRow,
  noPolicy,
  toPolicyRow,
} from './rights-row.ts';
import type { Schema } from './schema.ts';
import { allTokens, sqlAgents } from './sql-agents.ts';
import { rightsChange, rightsRevision, type Run } from './sql-change.ts';
import { allLeases, sqlLeases } from './sql-leases.ts';
import type { Store } from './store.ts';

type RightsParts = Pick<Store, 'agents' | 'agentTokens' | 'bindings' | 'leases' | 'grantPolicies' | 'rights'>;

/** How far clocks of machines that share a store may be apart: a use that lies further ahead gives way. */
const wrongClockMs = 300_000;

/** @param now milliseconds since the epoch */
export function sqlRights(db: Kysely<Schema>, run: Run, now: () => number): RightsParts {
  const change = rightsChange(db, run);
  return {
    ...sqlAgents(db, run, change),

    leases: sqlLeases(db, run, change),

    grantPolicies: {
      get: (grantId) =>
        run(async () => {
          const row = await db
            .selectFrom('grant_policies')
            .selectAll()
            .where('grant_id', '=', grantId)
            .executeTakeFirst();
          return row === undefined ? null : fromPolicyRow(row);
        }),
      list: () =>
        run(async () => (await db.selectFrom('grant_policies').selectAll().execute()).map(fromPolicyRow)),
      set: (grantId, policy) =>
        change(async (inside) => {
          const grant = await inside
            .selectFrom('grants')
            .select('id')
            .where('id', '=', grantId)
            .executeTakeFirst();
          if (grant === undefined) return false;
          const before = await inside
            .selectFrom('grant_policies')
            .selectAll()
            .where('grant_id', '=', grantId)
            .executeTakeFirst();
          const known = before === undefined ? noPolicy(grantId) : fromPolicyRow(before);
          const row = toPolicyRow({ ...known, ...policy, grantId });
          await inside
            .insertInto('grant_policies')
            .values(row)
            .onConflict((conflict) => conflict.column('grant_id').doUpdateSet(row))
            .execute();
          return true;
        }),
    },

    rights: {
      revision: () => run(() => rightsRevision(db)),
      read: (since = 0) =>
        run(async () => {
          for (;;) {
            const revision = await rightsRevision(db);
            const rights = {
              revision,
              agents: (await db.selectFrom('agents').selectAll().execute()).map(fromAgentRow),
              tokens: (await allTokens(db).execute()).map(fromTokenRow),
              bindings: (await db.selectFrom('bindings').selectAll().execute()).map(fromBindingRow),
              leases: (await allLeases(db).where('expires_at', '>=', since).execute()).map(fromLeaseRow),
              policies: (await db.selectFrom('grant_policies').selectAll().execute()).map(fromPolicyRow),
            };
            // Tables that were read on both sides of a change could, together, grant what nobody granted.
            if ((await rightsRevision(db)) === revision) return rights;
          }
        }),
      noteUses: (uses) =>
        run(async () => {
          if (uses.length === 0) return;
          const horizon = Math.ceil(now()) + wrongClockMs;
          await db.transaction().execute(async (inside) => {
            for (const { kind, id, at } of uses) {
              await inside
                .updateTable(kind === 'token' ? 'agent_tokens' : 'leases')
                .set({ used_at: at })
                .where('id', '=', id)
                .where((row) =>
                  row.or([
                    row('used_at', 'is', null),
                    row('used_at', '<', at),
                    row('used_at', '>', Math.max(at, horizon)),
                  ]),
                )
                .execute();
            }
          });
        }),
    },
  };
}
