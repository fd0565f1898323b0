import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { AuditEvent } from '../../src/domain/event.ts';
import { indexName } from '../../src/audit/block-index.ts';
import { type AuditFilter, auditMatcher } from '../../src/audit/filter.ts';
import { rotatedFiles } from '../../src/audit/log-files.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import { queryAudit } from '../../src/audit/query.ts';
import { indexRotated, packRotated } from '../../src/audit/retention.ts';
import * as fc from '../support/fast-check.ts';
import { vaultForTest } from '../unit/audit/vault-for-test.ts';

const vault = vaultForTest();
const later = () => Date.now() + 120_000;
const word = fc.constantFrom('a', 'b', 'é"\\', 'x\u2028');

/**
 * Steps of a log: exchanges begin and end in any order; some have two accesses, some no end, and some lines
 * stand alone.
 */
const step = fc.record(
  {
    kind: fc.constantFrom('access', 'outcome', 'tunnel', 'denied', 'grant.revoked', 'agent.added'),
    exchange: fc.nat(6),
    agent: word,
    grant: word,
    host: fc.constantFrom('one.example', 'two.example'),
    outcome: fc.constantFrom('failed', 'aborted', undefined),
    code: fc.constantFrom('rule_denied', undefined),
    by: fc.constantFrom('alice', 'alice (as root)', undefined),
    minutes: fc.integer({ min: -2, max: 5 }),
    pad: fc.nat(300),
  },
  { noNullPrototype: true },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

function eventOf(at: Step, exchange: string): AuditEvent {
  const { kind, agent, grant, host, outcome, code, by, pad } = at;
  const path = `/${'p'.repeat(pad)}`;
  if (kind === 'outcome' || kind === 'tunnel') return { event: kind, exchange, outcome, code, status: 200 };
  if (kind === 'access') return { event: kind, exchange, agent, grant, host, path, outcome: 'allow' };
  if (kind === 'denied') return { event: kind, exchange, agent, host, path, code: code ?? 'body_too_large' };
  return { event: kind, grant, by, reason: path };
}

const time = fc.option(fc.integer({ min: 0, max: 120 }), { nil: undefined });
const maybe = <T>(values: fc.Arbitrary<T>) => fc.option(values, { nil: undefined, freq: 2 });
const filters: fc.Arbitrary<AuditFilter> = fc.record({
  since: time.map((minutes) => (minutes === undefined ? undefined : minutes * 60_000)),
  until: time.map((minutes) => (minutes === undefined ? undefined : minutes * 60_000)),
  event: maybe(fc.constantFrom('outcome', 'access', 'denied', 'grant.*', 'a*', 'audit.rotated')),
  agent: maybe(word),
  host: maybe(fc.constantFrom('one.example', 'none.example')),
  outcome: maybe(fc.constantFrom('ok', 'allow', 'failed')),
  code: maybe(fc.constantFrom('rule_denied', 'body_too_large')),
  by: maybe(fc.constantFrom('alice', 'root', 'bob')),
  exchange: maybe(fc.nat(9).map((n) => `x${n}-0`)),
  grants: maybe(fc.uniqueArray(word).map((ids) => new Set(ids))),
});

async function writeLog(file: string, steps: readonly Step[], maxBytes: number): Promise<void> {
  let now = 0;
  const open = () =>
    openAuditLog({ file, maxBytes, vault, now: () => now, node: 'host', isFileCheckDue: () => true });
  const logs = [await open(), await open()];
  /** An exchange ends once: its id has a number that grows with each end. */
  const ends = new Map<number, number>();
  for (const [index, each] of steps.entries()) {
    now = Math.max(0, now + each.minutes * 60_000);
    const turn = ends.get(each.exchange) ?? 0;
    await logs[index % 2]!.append(eventOf(each, `x${each.exchange}-${turn}`));
    if (each.kind === 'outcome' || each.kind === 'tunnel') ends.set(each.exchange, turn + 1);
  }
  await Promise.all(logs.map((log) => log.close()));
}

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const value of values) found.push(value);
  return found;
}

test('a query finds the same lines with a full, a partial or no index', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 20, maxLength: 90 }),
      fc.array(filters, { minLength: 4, maxLength: 8 }),
      fc.integer({ min: 500, max: 3_000 }),
      fc.record({ packed: fc.boolean(), without: fc.nat(30), last: fc.nat(12) }),
      async (steps, asked, maxBytes, { packed, without, last }) => {
        const folder = fs.mkdtempSync(join(tmpdir(), 'sidekey-'));
        try {
          const file = join(folder, 'audit.jsonl');
          await writeLog(file, steps, maxBytes);
          const every = await all(queryAudit({ file, filter: {} }));
          const check = async (filter: AuditFilter) => {
            const expected = every.filter(auditMatcher(filter));
            expect(await all(queryAudit({ file, filter }))).toEqual(expected);
            const end = last === 0 ? [] : expected.slice(-last);
            expect(await all(queryAudit({ file, filter, last }))).toEqual(end);
          };
          for (const filter of asked) await check(filter);
          expect(await indexRotated(file, later())).toBe(rotatedFiles(file).length);
          if (packed) await packRotated(file, later());
          for (const filter of asked) await check(filter);
          fs.rmSync(indexName(file, without), { force: true });
          for (const filter of asked) await check(filter);
        } finally {
          fs.rmSync(folder, { recursive: true });
        }
      },
    ),
    { numRuns: 15 },
  );
});
