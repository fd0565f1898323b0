import { describe } from 'vitest';
import { postgresMissing } from '../support/postgres.ts';
import { postgresUnderTest } from '../support/postgres-under-test.ts';
import { approvalsConformance } from './approvals.ts';
import { proposalsConformance } from './proposals.ts';
import { rightsConformance } from './rights.ts';
import { storeConformance } from './store.ts';

describe.skipIf(postgresMissing !== null)(`PostgreSQL${postgresMissing ?? ''}`, () => {
  storeConformance('PostgreSQL', postgresUnderTest);
  rightsConformance('PostgreSQL', postgresUnderTest);
  approvalsConformance('PostgreSQL', postgresUnderTest);
  proposalsConformance('PostgreSQL', postgresUnderTest);
});
