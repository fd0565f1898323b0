import { expect, it } from 'vitest';
import { rotatedFiles } from '../../../src/audit/log-files.ts';
import { timeQueries, writeLargeLog } from '../../bench/audit-query.ts';
import { newLogFile } from '../audit/log-for-test.ts';

it('the query bench writes a log with indexes, and runs queries on it', async () => {
  const log = { file: await newLogFile(), lines: 6_000, days: 2, maxBytes: 600_000, packed: true };
  await writeLargeLog(log);
  expect(rotatedFiles(log.file).every(({ packed }) => packed)).toBe(true);
  const found = new Map<string, number>();
  for await (const timing of timeQueries(log)) found.set(timing.name, timing.found);
  expect(found.get('the last 20')).toBe(20);
  expect(found.get('an exchange that never was')).toBe(0);
  expect(found.get('an hour')).toBeGreaterThan(100);
});
