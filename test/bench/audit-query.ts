/**
 * Seconds of `audit query` on a large log, by the clock and of the processor: node test/bench/audit-query.ts
 * [--smoke | --lines N] [--plain] [--keep FOLDER]
 *
 * Agents work in sessions, eight at a time: a session calls two hosts some hundred times. Each exchange has
 * two lines.
 */
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { AuditEvent } from '../../src/domain/event.ts';
import type { AuditFilter } from '../../src/audit/filter.ts';
import { chainMac, genesis, LineBatch } from '../../src/audit/line.ts';
import { rotatedFiles, rotatedName } from '../../src/audit/log-files.ts';
import { queryAudit, tailAudit } from '../../src/audit/query.ts';
import { indexRotated, packRotated } from '../../src/audit/retention.ts';
import { newExchangeId } from '../../src/proxy/record.ts';
import { vaultForTest } from '../unit/audit/vault-for-test.ts';

const start = Date.UTC(2026, 0, 1);
const dayMs = 86_400_000;

interface LargeLog {
  readonly file: string;
  readonly lines: number;
  /** Days from its first line to its last. */
  readonly days: number;
  /** Bytes of a file before it is rotated. */
  readonly maxBytes: number;
  /** False: rotated files stay as they are written. */
  readonly packed: boolean;
}

/** Numbers that look random, and are the same each time. */
function createRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 0x1_0000_0000) * below);
  };
}

const grantId = (n: number) => `7b6b2c0e-6a52-4000-8000-${String(n).padStart(12, '0')}`;
const mb = (count: number) => `${(count / 1e6).toFixed(1)} MB`;

/** Yields the events of a log with their times. */
function* eventsOf({ lines, days }: LargeLog): Generator<{ event: AuditEvent; time: number }> {
  const random = createRandom(7);
  const newSession = () => {
    // The square makes agents unequal: the first ones have most sessions.
    const n = Math.floor(random(1_000) ** 2 / 1_000);
    return { n, left: 100 + random(900), hosts: [random(300), random(300)] };
  };
  const sessions = Array.from({ length: 8 }, newSession);
  const open: AuditEvent[] = [];
  for (let line = 0; line < lines; line += 1) {
    const time = start + Math.floor((line * days * dayMs) / lines);
    const ending = open.length > 40 || (open.length > 0 && random(2) === 0);
    if (line % 2_000_003 === 1_500_000) {
      yield {
        time,
        event: { event: 'denied', exchange: newExchangeId(), agent: 'agent-1', code: 'address_blocked' },
      };
    } else if (ending) {
      const [{ exchange }] = open.splice(random(open.length), 1) as [AuditEvent];
      const isFailed = random(5_000) === 0;
      const outcome = isFailed ? 'failed' : 'ok';
      yield {
        time,
        event: {
          event: 'outcome',
          exchange,
          outcome,
          status: isFailed ? 502 : 200,
          bytes_out: random(90_000),
          duration_ms: random(900),
        },
      };
    } else {
      const at = random(8);
      const session = sessions[at]!;
      session.left -= 1;
      if (session.left === 0) sessions[at] = newSession();
      const host = session.hosts[random(2)]!;
      const event: AuditEvent = {
        event: 'access',
        exchange: newExchangeId(),
        agent: `agent-${session.n}`,
        user: `user-${session.n % 50}`,
        grant: grantId(host),
        provider: `provider-${host % 60}`,
        client: `127.0.0.1:${32_768 + random(28_000)}`,
        host: `api-${host}.example.com`,
        port: 443,
        credential: '9f86d081884c7d65',
        method: 'GET',
        scheme: 'https',
        path: `/tickets/${random(1_000_000)}`,
        outcome: 'allow',
      };
      open.push(event);
      yield { time, event };
    }
  }
}

/** Writes a log with its rotated files indexed and packed, as a proxy does in the course of time. */
export async function writeLargeLog(log: LargeLog): Promise<void> {
  const { file, maxBytes, packed } = log;
  const batch = new LineBatch(chainMac(vaultForTest()));
  batch.begin({ seq: 0, hash: genesis });
  let fd = fs.openSync(file, 'a', 0o600);
  let size = 0;
  const write = () => {
    if (batch.count === 0) return;
    const bytes = batch.bytes();
    fs.writeSync(fd, bytes);
    size += bytes.length;
    batch.begin(batch.head(batch.count));
  };
  for (const { event, time } of eventsOf(log)) {
    batch.add(event, time, 'bench/1');
    if (batch.hasRoom) continue;
    write();
    if (size < maxBytes) continue;
    fs.closeSync(fd);
    fs.renameSync(file, rotatedName(file, rotatedFiles(file).length + 1));
    await indexRotated(file, Date.now() + 120_000);
    if (packed) await packRotated(file, Date.now() + 120_000);
    fd = fs.openSync(file, 'a', 0o600);
    size = 0;
  }
  write();
  fs.closeSync(fd);
}

interface Timing {
  readonly name: string;
  readonly found: number;
  /** Wall-clock time, and CPU time of all threads, which other programs disturb less. */
  readonly seconds: number;
  readonly cpu: number;
}

async function time(name: string, lines: AsyncIterable<unknown>): Promise<Timing> {
  const begun = performance.now();
  const before = process.cpuUsage();
  let found = 0;
  for await (const _ of lines) found += 1;
  const { user, system } = process.cpuUsage(before);
  return { name, found, seconds: (performance.now() - begun) / 1_000, cpu: (user + system) / 1e6 };
}

/** Times typical queries of a log, each once. */
export async function* timeQueries({ file, days }: LargeLog): AsyncGenerator<Timing> {
  const day = (n: number) => start + n * dayMs;
  const asked: readonly (readonly [string, AuditFilter, number?])[] = [
    ['an hour', { since: day(days / 2), until: day(days / 2) + dayMs / 24 }],
    ['a day of a busy agent', { since: day(days / 3), until: day(days / 3 + 1), agent: 'agent-0' }],
    ['an agent', { agent: 'agent-900' }],
    ['a grant', { grants: new Set([grantId(42)]), since: day(days - 7) }],
    ['a rare code', { code: 'address_blocked' }],
    ['an exchange that never was', { exchange: newExchangeId() }],
    ['failures of a week', { outcome: 'failed', since: day(days - 7) }],
    ['the last 20', {}, 20],
    ['the last 20 of a busy agent', { agent: 'agent-0' }, 20],
  ];
  for (const [name, filter, last] of asked) yield await time(name, queryAudit({ file, filter, last }));
  yield await time('tail -n 20', tailAudit({ file, lines: 20, brief: true }));
  for (const { path } of rotatedFiles(file))
    fs.renameSync(`${path.replace(/\.gz$/, '')}.index`, `${path}.away`);
  yield await time(
    'a rare code, without an index',
    queryAudit({ file, filter: { code: 'address_blocked' } }),
  );
  for (const { path } of rotatedFiles(file))
    fs.renameSync(`${path}.away`, `${path.replace(/\.gz$/, '')}.index`);
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      smoke: { type: 'boolean', default: false },
      lines: { type: 'string', default: '10000000' },
      plain: { type: 'boolean', default: false },
      keep: { type: 'string' },
    },
  });
  const folder = values.keep ?? fs.mkdtempSync(join(tmpdir(), 'sidekey-bench-'));
  try {
    const [lines, maxBytes] = values.smoke ? [30_000, 2 ** 21] : [Number(values.lines), 100 * 2 ** 20];
    const log = { file: join(folder, 'audit.jsonl'), lines, days: 90, maxBytes, packed: !values.plain };
    const begun = performance.now();
    if (!fs.existsSync(log.file)) await writeLargeLog(log);
    const bytes = (pattern: RegExp) =>
      fs
        .readdirSync(folder)
        .reduce((sum, name) => sum + (pattern.test(name) ? fs.statSync(join(folder, name)).size : 0), 0);
    console.log(
      `${lines} lines: ${mb(bytes(/jsonl$|\d(\.gz)?$/))}, indexes ${mb(bytes(/\.index$/))}, made in ${((performance.now() - begun) / 1_000).toFixed(0)} s`,
    );
    for await (const { name, found, seconds, cpu } of timeQueries(log))
      console.log(
        `${name.padEnd(32)} ${seconds.toFixed(2).padStart(7)} s  cpu ${cpu.toFixed(2).padStart(6)} s  ${found} lines`,
      );
  } finally {
    if (values.keep === undefined) fs.rmSync(folder, { recursive: true });
  }
}
