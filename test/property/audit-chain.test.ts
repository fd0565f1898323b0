import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import type { AuditEvent } from '../../src/domain/event.ts';
import { encodeHead, headFile } from '../../src/audit/live-file.ts';
import { chainMac, genesis, type ChainHead } from '../../src/audit/line.ts';
import { openAuditLog, type OpenAuditLog } from '../../src/audit/log.ts';
import { queryAudit } from '../../src/audit/query.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { endStoreForTest } from '../unit/audit/head-store-for-test.ts';
import { composeLine } from '../unit/audit/compose-line.ts';
import { storedHeads } from '../unit/audit/log-for-test.ts';
import { vaultForTest } from '../unit/audit/vault-for-test.ts';

const vault = vaultForTest();
const mac = chainMac(vault);

const text = fc.oneof(fc.string({ maxLength: 20 }), fc.string({ unit: 'binary', maxLength: 20 }));
const optional = <T>(values: fc.Arbitrary<T>) => fc.option(values, { nil: undefined });
const anEvent: fc.Arbitrary<AuditEvent> = fc.record({
  event: fc.constantFrom('access', 'outcome', 'denied', 'grant.refreshed'),
  agent: optional(text),
  path: optional(text),
  reason: optional(text),
  port: optional(fc.nat(65_535)),
  duration_ms: optional(fc.double()),
});

/** A log of several writers: who wrote what, in the order of the file. */
const aLog = fc.array(fc.record({ slot: fc.integer({ min: 1, max: 3 }), event: anEvent }), {
  minLength: 2,
  maxLength: 12,
});
type Written = { slot: number; event: AuditEvent }[];

/** The lines (without newlines) and the head records of a log. */
function compose(written: Written, macOfLine = mac): { lines: string[]; heads: Map<number, ChainHead> } {
  const heads = new Map<number, ChainHead>();
  const lines = written.map(({ slot, event }) => {
    const last = heads.get(slot) ?? { seq: 0, hash: genesis };
    const line = composeLine(event, '2026-01-02T03:04:05.678Z', `host/${slot}`, last, macOfLine);
    heads.set(slot, line.head);
    return line.text;
  });
  return { lines, heads };
}

async function inFolder<T>(work: (file: string) => Promise<T>): Promise<T> {
  const folder = fs.mkdtempSync(join(tmpdir(), 'sidekey-'));
  try {
    return await work(join(folder, 'audit.jsonl'));
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

/** Reports whether a log with these bytes and heads verifies. */
function verifies(bytes: string | Buffer, heads: Map<number, ChainHead>): Promise<boolean> {
  return inFolder(async (file) => {
    fs.writeFileSync(file, bytes);
    const slots = Math.max(0, ...heads.keys());
    const records = Array.from({ length: slots }, (_, index) => {
      const link = heads.get(index + 1) ?? { seq: 0, hash: genesis };
      return encodeHead({ node: `host/${index + 1}`, seq: link.seq, hash: link.hash, closed: true }, vault);
    });
    fs.writeFileSync(headFile(file), Buffer.concat(records));
    return (await verifyAudit({ file, vault })).ok;
  });
}

const macOfForger = chainMac(vaultForTest('forger'));

/** The lines of one writer. */
const chainOf = (lines: readonly string[], slot: number) =>
  lines.filter((line) => line.includes(`"node":"host/${slot}"`)).join('');

const fileOf = (lines: readonly string[]) => lines.map((line) => `${line}\n`).join('');

describe('an unchanged log', () => {
  it('verifies with any interleaving of writers and any content', async () => {
    await fc.assert(
      fc.asyncProperty(aLog, async (written) => {
        const { lines, heads } = compose(written);
        expect(await verifies(fileOf(lines), heads)).toBe(true);
      }),
    );
  });
});

describe('verification finds', () => {
  it('every edit of one byte', async () => {
    await fc.assert(
      fc.asyncProperty(aLog, fc.nat(), fc.integer({ min: 1, max: 255 }), async (written, place, change) => {
        const { lines, heads } = compose(written);
        const bytes = Buffer.from(fileOf(lines));
        const at = place % bytes.length;
        bytes.writeUInt8(bytes.readUInt8(at) ^ change, at);
        expect(await verifies(bytes, heads)).toBe(false);
      }),
      { numRuns: 500 },
    );
  });

  it('every replacement of a byte by a newline, a quote or a brace', async () => {
    const { lines, heads } = compose(
      [1, 2, 1].map((slot) => ({ slot, event: { event: 'access', path: '/é"\u2028' } })),
    );
    const whole = Buffer.from(fileOf(lines));
    for (const byte of [0x0a, 0x22, 0x7b]) {
      for (let at = 0; at < whole.length; at += 1) {
        if (whole[at] === byte) continue;
        const bytes = Buffer.from(whole);
        bytes.writeUInt8(byte, at);
        if (await verifies(bytes, heads)) expect.fail(`0x${byte.toString(16)} at ${at}`);
      }
    }
  });

  it('every deletion of lines', async () => {
    await fc.assert(
      fc.asyncProperty(aLog, fc.nat(), fc.integer({ min: 1, max: 3 }), async (written, place, count) => {
        const { lines, heads } = compose(written);
        lines.splice(place % lines.length, count);
        expect(await verifies(fileOf(lines), heads)).toBe(false);
      }),
    );
  });

  it('every swap of two lines that changes the order of a chain', async () => {
    await fc.assert(
      fc.asyncProperty(aLog, fc.nat(), fc.nat(), async (written, one, other) => {
        const { lines, heads } = compose(written);
        const [i, j] = [one % lines.length, other % lines.length];
        const swapped = lines.with(i, lines[j] ?? '').with(j, lines[i] ?? '');
        const changed = [1, 2, 3].some((slot) => chainOf(lines, slot) !== chainOf(swapped, slot));
        expect(await verifies(fileOf(swapped), heads)).toBe(!changed);
      }),
    );
  });

  it('every truncation except the loss of the last newline', async () => {
    await fc.assert(
      fc.asyncProperty(aLog, fc.nat(), async (written, place) => {
        const { lines, heads } = compose(written);
        const bytes = Buffer.from(fileOf(lines));
        expect(await verifies(bytes.subarray(0, place % (bytes.length - 1)), heads)).toBe(false);
        expect(await verifies(bytes.subarray(0, bytes.length - 1), heads)).toBe(true);
      }),
    );
  });

  it('every repeated line and every forged line', async () => {
    await fc.assert(
      fc.asyncProperty(aLog, fc.nat(), fc.nat(), async (written, from, to) => {
        const { lines, heads } = compose(written);
        const forged = compose(written, macOfForger).lines;
        for (const source of [lines, forged]) {
          const line = source[from % source.length] ?? '';
          expect(await verifies(fileOf(lines.toSpliced(to % (lines.length + 1), 0, line)), heads)).toBe(
            false,
          );
        }
      }),
    );
  });

  it('every line from another log with the same key and position', async () => {
    await fc.assert(
      fc.asyncProperty(aLog, anEvent, fc.nat(), async (written, event, place) => {
        const at = place % written.length;
        const first = compose(written);
        const other = compose(
          written.with(at, { slot: written[at]?.slot ?? 1, event: { ...event, user: 'mallory' } }),
        );
        const spliced = first.lines.with(at, other.lines[at] ?? '');
        expect(await verifies(fileOf(spliced), first.heads)).toBe(false);
      }),
    );
  });
});

type Step =
  | { readonly do: 'append'; readonly writer: number; readonly count: number }
  | { readonly do: 'reopen'; readonly writer: number }
  | { readonly do: 'tear'; readonly bytes: number };

const writer = fc.nat(2);
const aStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      writer,
      count: fc.integer({ min: 1, max: 5 }),
    }),
  },
  fc.record({ do: fc.constant('reopen' as const), writer }),
  fc.record({ do: fc.constant('tear' as const), bytes: fc.integer({ min: 1, max: 60 }) }),
);

describe('concurrent writers', () => {
  it('leave a log that verifies and contains every event once', async () => {
    const fragment = composeLine(
      { event: 'access' },
      '2026-01-02T03:04:05.678Z',
      'gone/9',
      { seq: 4, hash: genesis },
      mac,
    );
    await fc.assert(
      fc.asyncProperty(fc.array(aStep, { maxLength: 20 }), async (steps) => {
        await inFolder(async (file) => {
          const open = () =>
            openAuditLog({
              file,
              maxBytes: 900,
              isFileCheckDue: () => true,
              vault,
              now: () => 0,
              node: 'host',
            });
          const logs: OpenAuditLog[] = await Promise.all([open(), open(), open()]);
          let written = 0;
          for (const step of steps) {
            if (step.do === 'tear') {
              fs.appendFileSync(file, fragment.text.slice(0, step.bytes));
            } else if (step.do === 'reopen') {
              await logs[step.writer]?.close();
              logs[step.writer] = await open();
            } else {
              const paths = Array.from({ length: step.count }, () => `/${(written += 1)}`);
              await Promise.all(
                paths.map(async (path) => logs[step.writer]?.append({ event: 'access', path })),
              );
            }
          }
          await Promise.all(logs.map((log) => log.close()));
          const found: string[] = [];
          for await (const { path } of queryAudit({ file, filter: { event: 'access' } }))
            found.push(path ?? '');
          expect(found).toEqual(Array.from({ length: written }, (_, index) => `/${index + 1}`));
          expect((await verifyAudit({ file, vault })).problems).toEqual([]);
        });
      }),
      { numRuns: 40 },
    );
  });
});

/** Writers by turns: who writes, and how many events with one call. */
const turns = fc.array(fc.record({ writer, count: fc.integer({ min: 1, max: 3 }) }), {
  minLength: 2,
  maxLength: 14,
});

/** A change of the text of a log by somebody who has no key. */
const anAttack = fc.record({
  do: fc.constantFrom('edit', 'delete', 'swap', 'move', 'cut', 'insert'),
  one: fc.nat(),
  other: fc.nat(),
});

/** The files of a log with their lines, oldest first. */
function filesOf(file: string): { path: string; lines: string[] }[] {
  const folder = join(file, '..');
  return fs
    .readdirSync(folder)
    .filter((name) => /^audit\.jsonl(\.\d{6})?$/.test(name))
    .toSorted((a, b) => (a.length === b.length ? (a < b ? -1 : 1) : b.length - a.length))
    .map((name) => ({
      path: join(folder, name),
      lines: fs.readFileSync(join(folder, name), 'utf8').split('\n').slice(0, -1),
    }));
}

/** Reports whether the bytes of the log have changed. */
function attack(file: string, { do: what, one, other }: { do: string; one: number; other: number }): boolean {
  const files = filesOf(file);
  const lines = files.flatMap((each) => each.lines);
  const [i, j] = [one % lines.length, other % lines.length];
  const [a = '', b = ''] = [lines[i], lines[j]];
  if (what === 'edit') lines[i] = a.replace(/.$/s, (last) => (last === '}' ? ']' : '}'));
  if (what === 'delete') lines[i] = '';
  if (what === 'swap') [lines[i], lines[j]] = [b, a];
  // Before a line: behind the last it is a write that was broken off, which takes nothing away.
  if (what === 'insert') lines[i] = `{"v":1,"seq":${other}\n${a}`;
  if (what === 'move') {
    // The files keep their numbers of lines.
    lines.splice(i, 1);
    lines.splice(j, 0, a);
  }
  const before = files.map(({ lines: text }) => fileOf(text)).join('|');
  let from = 0;
  const after = files.map((each) => {
    const kept = lines.slice(from, (from += each.lines.length));
    const text = fileOf(kept.filter((line) => line !== ''));
    const left = what === 'cut' && from > i ? text.slice(0, other % Math.max(1, text.length - 1)) : text;
    fs.writeFileSync(each.path, left);
    return left;
  });
  return after.join('|') !== before;
}

async function writtenByTurns(
  file: string,
  steps: readonly { writer: number; count: number }[],
  store: ReturnType<typeof endStoreForTest>,
): Promise<void> {
  const open = () =>
    openAuditLog({
      file,
      maxBytes: 900,
      isFileCheckDue: () => true,
      vault,
      store,
      now: () => 0,
      node: 'host',
    });
  const logs = await Promise.all([open(), open(), open()]);
  for (const step of steps) {
    const events = Array.from({ length: step.count }, async () =>
      logs[step.writer]?.append({ event: 'access' }),
    );
    await Promise.all(events);
  }
  await Promise.all(logs.map((log) => log.close()));
}

const isWhole = async (file: string, store: ReturnType<typeof endStoreForTest>) =>
  (await verifyAudit({ file, vault, stored: await storedHeads(store, file) })).ok;

describe('a log of several writers and files, with the heads in the store', () => {
  it('does not verify after any edit, deletion, cut, insertion or reordering', async () => {
    await fc.assert(
      fc.asyncProperty(turns, anAttack, async (steps, how) => {
        await inFolder(async (file) => {
          const store = endStoreForTest();
          await writtenByTurns(file, steps, store);
          expect(await isWhole(file, store)).toBe(true);
          fc.pre(attack(file, how));
          expect(await isWhole(file, store)).toBe(false);
        });
      }),
      { numRuns: 150 },
    );
  });

  it('does not verify after the loss of any of its files, even after the next start', async () => {
    await fc.assert(
      fc.asyncProperty(turns, fc.nat(), async (steps, which) => {
        await inFolder(async (file) => {
          const store = endStoreForTest();
          await writtenByTurns(file, steps, store);
          const all = fs.readdirSync(join(file, '..')).filter((name) => !name.includes('.lock'));
          // Of every set of files; where the number says none, all of them.
          const gone = all.filter((_, index) => (which & (1 << index)) !== 0);
          for (const name of gone.length === 0 ? all : gone) fs.rmSync(join(file, '..', name));
          expect(await isWhole(file, store)).toBe(false);
          await writtenByTurns(file, [{ writer: 0, count: 1 }], store);
          expect(await isWhole(file, store)).toBe(false);
        });
      }),
      { numRuns: 60 },
    );
  });
});
