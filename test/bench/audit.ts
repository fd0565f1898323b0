/** Measures the cost of an audited event against a bare write of the same line: microseconds per event. */
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openAuditLog } from '../../src/audit/log.ts';
import { packedName, rotatedName } from '../../src/audit/log-files.ts';
import { packRotated } from '../../src/audit/retention.ts';
import { queryAudit } from '../../src/audit/query.ts';
import { summarize } from '../../src/audit/summary.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import type { AuditEvent } from '../../src/domain/event.ts';
import { newExchangeId } from '../../src/proxy/record.ts';
import { vaultForTest } from '../unit/audit/vault-for-test.ts';

const event: AuditEvent = {
  event: 'access',
  exchange: '01k0a1b2c3d4e5f6g7h8',
  agent: 'coding-agent',
  user: 'alice',
  grant: '7b6b2c0e-6a52-4b0b-9a39-0d7f5a1c2e3f',
  provider: 'acme',
  client: '127.0.0.1:51234',
  method: 'GET',
  scheme: 'https',
  host: 'helpdesk.acme.test',
  port: 8443,
  path: '/tickets/1234',
  outcome: 'allow',
  credential: '9f86d081884c7d65',
};

/** Enough different ones that none finds its like within the window of a compressor. */
const events = Array.from({ length: 1_000 }, (_, n) => ({
  ...event,
  exchange: newExchangeId(),
  path: `/tickets/${(n * 7_919) % 100_003}`,
}));
let turn = 0;
const next = () => events[(turn = (turn + 1) % events.length)] ?? event;

/** Microseconds for each of `events`. */
async function time(events: number, work: () => Promise<void> | void): Promise<number> {
  const start = performance.now();
  await work();
  return ((performance.now() - start) * 1_000) / events;
}

const folder = fs.mkdtempSync(join(tmpdir(), 'sidekey-bench-'));
try {
  const file = join(folder, 'audit.jsonl');
  const vault = vaultForTest();
  const log = await openAuditLog({ file, maxBytes: 1e9, vault, now: Date.now });
  const batched = async (rounds: number, size: number, to = log) => {
    for (let round = 0; round < rounds; round += 1) {
      await Promise.all(Array.from({ length: size }, () => to.append(next())));
    }
  };
  await batched(50, 100);
  const line = `${fs.readFileSync(file, 'utf8').split('\n')[1]}\n`;

  const plain = fs.openSync(join(folder, 'plain'), 'a', 0o600);
  const write = (count: number) => {
    for (let n = 0; n < count; n += 1) fs.writeSync(plain, line);
  };
  write(20_000);
  const bare = await time(50_000, () => write(50_000));
  fs.closeSync(plain);

  const show = (name: string, cost: number) =>
    console.log(
      `${name.padEnd(34)} ${cost.toFixed(2).padStart(8)} µs  ${(cost / bare).toFixed(1).padStart(6)} ×`,
    );
  console.log(`A line of ${line.length} bytes.`);
  show('bare write of the line', bare);
  for (const size of [1, 4, 16, 64, 256]) {
    const rounds = Math.ceil(40_000 / size);
    show(`append, ${size} at once`, await time(rounds * size, () => batched(rounds, size)));
  }
  const durable = await openAuditLog({
    file: join(folder, 'durable.jsonl'),
    maxBytes: 1e9,
    vault,
    now: Date.now,
    fsync: 'always',
  });
  for (const size of [1, 16, 256]) {
    const rounds = Math.ceil(2_000 / size);
    show(
      `append, ${size} at once, fsync: always`,
      await time(rounds * size, () => batched(rounds, size, durable)),
    );
  }
  await durable.close();
  const beside = await openAuditLog({ file, maxBytes: 1e9, vault, now: Date.now });
  show(
    'append, 2 writers in turn',
    await time(20_000, async () => {
      for (let n = 0; n < 10_000; n += 1) {
        await log.append(event);
        await beside.append(event);
      }
    }),
  );
  await beside.close();
  await log.close();
  const lines = (await verifyAudit({ file, vault })).lines;
  show('verify', await time(lines, async () => void (await verifyAudit({ file, vault }))));
  const later = Date.now() + 3_600_000;
  const text = fs.statSync(file).size;
  fs.renameSync(file, rotatedName(file, 1));
  show('pack', await time(lines, async () => void (await packRotated(file, later))));
  const packed = fs.statSync(packedName(file, 1)).size;
  show('verify, packed', await time(lines, async () => void (await verifyAudit({ file, vault }))));
  show(
    'query, packed',
    await time(lines, async () => {
      for await (const { host } of queryAudit({ file, filter: { code: 'none' } })) void host;
    }),
  );
  show(
    'summary, packed',
    await time(lines, async () => void (await summarize(queryAudit({ file, filter: {} })))),
  );
  console.log(
    `${lines} lines: ${text} bytes, packed ${packed} (${(text / packed).toFixed(1)} times smaller).`,
  );
  const open = () =>
    openAuditLog({ file, maxBytes: 1e9, vault, now: Date.now }).then((again) => again.close());
  show(
    'open and close (a command)',
    await time(20, async () => {
      for (let n = 0; n < 20; n += 1) await open();
    }),
  );
} finally {
  fs.rmSync(folder, { recursive: true });
}
