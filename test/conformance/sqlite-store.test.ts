import { sqliteUnderTest } from '../support/sqlite-under-test.ts';
import { approvalsConformance } from './approvals.ts';
import { proposalsConformance } from './proposals.ts';
import { rightsConformance } from './rights.ts';
import { storeConformance } from './store.ts';

storeConformance('SQLite', sqliteUnderTest);
rightsConformance('SQLite', sqliteUnderTest);
approvalsConformance('SQLite', sqliteUnderTest);
proposalsConformance('SQLite', sqliteUnderTest);
