import type { Migration } from 'kysely/migration';
import { first } from './0001-first.ts';
import { connect } from './0002-connect.ts';
import { rights } from './0003-rights.ts';
import { approvals } from './0004-approvals.ts';
import { lackedScopes } from './0005-lacked-scopes.ts';
import { auditEnds } from './0006-audit-ends.ts';
import { approvalQuery } from './0007-approval-query.ts';
import type { ColumnTypes } from './column-types.ts';

/** Migrations by name. They run in the order of their names, and one that was released never changes again. */
export type Migrations = Readonly<Record<string, Migration>>;

/** All of them, in code: nothing is looked for on disk. */
export function migrations(types: ColumnTypes): Migrations {
  return {
    '0001-first': first(types),
    '0002-connect': connect(types),
    '0003-rights': rights(types),
    '0004-approvals': approvals(),
    '0005-lacked-scopes': lackedScopes(),
    '0006-audit-ends': auditEnds(types),
    '0007-approval-query': approvalQuery(),
  };
}
