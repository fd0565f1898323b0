import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { rotatedFiles } from '../../src/audit/log-files.ts';
import { blockSize, packBlock } from '../../src/audit/packed.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import { packRotated } from '../../src/audit/retention.ts';
import { queryAudit } from '../../src/audit/query.ts';
import { createQuantiles } from '../../src/audit/summary.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import * as fc from '../support/fast-check.ts';
import { vaultForTest } from '../unit/audit/vault-for-test.ts';

const vault = vaultForTest();
const folders: string[] = [];
afterAll(() => folders.forEach((folder) => fs.rmSync(folder, { recursive: true })));

/** A log of two writers in several files, the rotated ones packed; and a copy of it for each change. */
async function packedLog() {
  const folder = fs.mkdtempSync(join(tmpdir(), 'sidekey-'));
  folders.push(folder);
  const file = join(folder, 'audit.jsonl');
  const open = () =>
    openAuditLog({ file, maxBytes: 1_200, isFileCheckDue: () => true, vault, now: () => 0, node: 'host' });
  const logs = [await open(), await open()];
  for (let n = 0; n < 30; n += 1) {
    await logs[n % 2]?.append({ event: 'access', path: `/${n}`, reason: 'é"\u2028'.repeat(n) });
  }
  await Promise.all(logs.map((log) => log.close()));
  await packRotated(file, Date.now() + 120_000);
  const names = [file, `${file}.head`, ...rotatedFiles(file).map(({ path }) => path)];
  const bytes = new Map(names.map((name) => [name, fs.readFileSync(name)]));
  return {
    file,
    packed: rotatedFiles(file).map(({ path }) => path),
    textOf: async (path: string) => {
      const { gunzipSync } = await import('node:zlib');
      return gunzipSync(bytes.get(path) ?? Buffer.alloc(0)).toString();
    },
    bytesOf: (path: string) => bytes.get(path) ?? Buffer.alloc(0),
    /** Reports whether the log verifies with these files in place of its own, and restores its own. */
    async verifiesWith(changes: ReadonlyMap<string, Uint8Array | null>): Promise<boolean> {
      for (const [path, content] of changes) {
        if (content === null) fs.rmSync(path);
        else fs.writeFileSync(path, content);
      }
      const { ok } = await verifyAudit({ file, vault });
      for (const path of changes.keys()) fs.writeFileSync(path, bytes.get(path) ?? '', { mode: 0o600 });
      return ok;
    },
  };
}

/** A packed file of another text, as somebody makes it who knows the format and has no key. */
async function repacked(text: string | Buffer): Promise<Buffer> {
  const bytes = Buffer.from(text);
  const blocks: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += blockSize)
    blocks.push(await packBlock(bytes.subarray(at, at + blockSize)));
  return Buffer.concat(blocks);
}

const textOf = (lines: readonly string[]) => repacked(lines.map((line) => `${line}\n`).join(''));
const nodeOf = (line: string) => /"node":"([^"]*)"/.exec(line)?.[1];

describe('in packed files', async () => {
  const log = await packedLog();

  it('an unchanged log verifies', async () => {
    expect(log.packed.length).toBeGreaterThan(3);
    expect(await log.verifiesWith(new Map())).toBe(true);
    const found: (string | undefined)[] = [];
    for await (const { path } of queryAudit({ file: log.file, filter: { event: 'access' } }))
      found.push(path);
    expect(found).toEqual(Array.from({ length: 30 }, (_, n) => `/${n}`));
  });

  it('every edit of one compressed byte is found', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.nat(), fc.integer({ min: 1, max: 255 }), async (which, place, change) => {
        const path = log.packed[which % log.packed.length] ?? '';
        const bytes = Buffer.from(log.bytesOf(path));
        const at = place % bytes.length;
        bytes.writeUInt8(bytes.readUInt8(at) ^ change, at);
        expect(await log.verifiesWith(new Map([[path, bytes]]))).toBe(false);
      }),
      { numRuns: 300 },
    );
  });

  it('every edit of one byte of the text is found, even if it is packed again', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.nat(), fc.integer({ min: 1, max: 127 }), async (which, place, change) => {
        const path = log.packed[which % log.packed.length] ?? '';
        const bytes = Buffer.from(await log.textOf(path));
        const at = place % bytes.length;
        bytes.writeUInt8(bytes.readUInt8(at) ^ change, at);
        expect(await log.verifiesWith(new Map([[path, await repacked(bytes)]]))).toBe(false);
      }),
      { numRuns: 200 },
    );
  });

  it('every deletion, swap and cut of lines is found, within a file and across files', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.nat(), fc.nat(), fc.nat(), async (one, other, i, j) => {
        const [first = '', second = ''] = [one, other].map((n) => log.packed[n % log.packed.length]);
        const linesOf = async (path: string) => (await log.textOf(path)).trimEnd().split('\n');
        const [left, right] = [await linesOf(first), await linesOf(second)];
        const [a, b] = [i % left.length, j % right.length];
        const without = await textOf(left.toSpliced(a, 1));
        expect(await log.verifiesWith(new Map([[first, without]]))).toBe(false);
        expect(await log.verifiesWith(new Map([[first, await textOf(left.slice(0, a))]]))).toBe(false);
        const [x = '', y = ''] = [left[a], right[b]];
        if (x === y || nodeOf(x) !== nodeOf(y)) return;
        const swapped =
          first === second
            ? new Map([[first, await textOf(left.with(a, y).with(b, x))]])
            : new Map([
                [first, await textOf(left.with(a, y))],
                [second, await textOf(right.with(b, x))],
              ]);
        expect(await log.verifiesWith(swapped)).toBe(false);
      }),
      { numRuns: 100 },
    );
  });

  it('every removal, swap and cut of files is found', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.nat(), fc.nat(), async (one, other, place) => {
        const [first = '', second = ''] = [one, other].map((n) => log.packed[n % log.packed.length]);
        expect(await log.verifiesWith(new Map([[first, null]]))).toBe(false);
        const bytes = log.bytesOf(first);
        expect(await log.verifiesWith(new Map([[first, bytes.subarray(0, place % bytes.length)]]))).toBe(
          false,
        );
        if (first === second) return;
        const swapped = new Map([
          [first, log.bytesOf(second)],
          [second, bytes],
        ]);
        expect(await log.verifiesWith(swapped)).toBe(false);
      }),
      { numRuns: 60 },
    );
  });
});

describe('quantiles', () => {
  it('are accurate to 1 %', () => {
    const numbers = fc.array(fc.double({ min: 0.001, max: 1e9, noNaN: true }), {
      minLength: 1,
      maxLength: 300,
    });
    fc.assert(
      fc.property(numbers, fc.constantFrom(0.01, 0.5, 0.9, 0.99, 1), (values, share) => {
        const quantiles = createQuantiles();
        for (const value of values) quantiles.add(value);
        const exact =
          values.toSorted((a, b) => a - b)[Math.max(1, Math.ceil(share * values.length)) - 1] ?? 0;
        const found = quantiles.at(share) ?? 0;
        expect(Math.abs(found - exact)).toBeLessThanOrEqual(exact * 0.01 + 0.001);
      }),
    );
    expect(createQuantiles().at(0.5)).toBeNull();
  });
});
