import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { describe, expect, it } from 'vitest';
import { chainMac, linkAfter } from '../../src/audit/line.ts';
import { disk } from '../../src/audit/log-files.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { masterKey } from '../../src/store/vault/key-source.ts';
import { createVault, type RingKey } from '../../src/store/vault/vault.ts';
import { asKilled, newLogFile, openLog, rewriteLines, write } from '../unit/audit/log-for-test.ts';

const first: RingKey = { master: masterKey(randomBytes(32)), since: null, retiredAt: null };
const second: RingKey = { master: masterKey(randomBytes(32)), since: 1, retiredAt: null };
const old = createVault([first]);
const current = createVault([second, { ...first, retiredAt: 1 }]);

async function problems(file: string) {
  return (await verifyAudit({ file, vault: current })).problems.map(({ kind, line }) => `${kind} ${line}`);
}

/** A log of three lines with the old key, the link, and three lines with the new one. */
async function rotatedLog(): Promise<string> {
  const file = await newLogFile();
  const before = await openLog(file, { vault: old });
  await write(before, 3);
  await before.close();
  const after = await openLog(file, { vault: current });
  await write(after, 3, 4);
  await after.close();
  return file;
}

/** Changes a line and hashes it with a key, as its holder can. */
function forged(line: string, vault: typeof old, change: (text: string) => string): string {
  const text = change(line.slice(0, line.lastIndexOf(',"hash":"')));
  return `${text},"hash":"${chainMac(vault)(text)}"}`;
}

const hashOf = (line: string) => (JSON.parse(line) as { hash: string }).hash;
const prevAs = (before: string) => (text: string) =>
  text.replace(/"prev":"[^"]*"/, `"prev":"${hashOf(before).slice(0, 8)}"`);

describe('an audit log with a rotation of the master key', () => {
  it('is intact, and has a link after the last line of the old key', async () => {
    const file = await rotatedLog();
    expect(await problems(file)).toEqual([]);
    const lines = fs.readFileSync(file, 'utf8').trim().split('\n');
    expect(JSON.parse(lines[3] ?? '')).toMatchObject({
      event: 'audit.rekeyed',
      reason: linkAfter({ seq: 3, hash: hashOf(lines[2] ?? '') }, old.keyId, current.keyId).reason,
    });
  });

  it('stays intact if its writer is killed directly after the link', async () => {
    const file = await newLogFile();
    const before = await openLog(file, { vault: old });
    await write(before, 3);
    await before.close();
    await openLog(file, { vault: current });
    const killed = await asKilled(file);
    const again = await openLog(killed, { vault: current });
    await write(again, 1);
    await again.close();
    expect(await problems(killed)).toEqual([]);
  });

  it('stays intact if its writer ends between its claim of the chain and the link', async () => {
    const file = await newLogFile();
    const before = await openLog(file, { vault: old });
    await write(before, 3);
    await before.close();
    // A disk that takes no line, and so no link.
    await openLog(file, { vault: current, disk: { ...disk, write: () => 0 } });
    const killed = await asKilled(file);
    const again = await openLog(killed, { vault: current });
    await write(again, 1);
    await again.close();
    expect(await problems(killed)).toEqual([]);
  });

  it('shows lines before the link that the holder of the old key rewrote, even if their hashes match', async () => {
    const file = await rotatedLog();
    rewriteLines(file, (lines) => {
      const third = forged(lines[2] ?? '', old, (text) => text.replace('/3', '/x'));
      return lines.with(2, third);
    });
    // The link names another hash; its `prev` does too, unless the holder finds one with the same 48 bits.
    expect(await problems(file)).toContain('edited 4');
  });

  it('shows lines that the holder of the old key wrote after the link', async () => {
    const file = await rotatedLog();
    rewriteLines(file, (lines) => {
      const after = forged(lines[2] ?? '', old, (text) =>
        prevAs(lines.at(-1) ?? '')(text.replace('"seq":3', '"seq":8')),
      );
      return [...lines, after];
    });
    expect(await problems(file)).toContain('foreign 8');
  });

  it('shows a link that the holder of the old key forged', async () => {
    const file = await rotatedLog();
    rewriteLines(file, (lines) =>
      lines.with(
        3,
        forged(lines[3] ?? '', old, (text) => text),
      ),
    );
    expect(await problems(file)).not.toEqual([]);
  });

  it('shows lines of a new key without a link', async () => {
    const file = await rotatedLog();
    rewriteLines(file, (lines) => {
      const fourth = forged(lines[3] ?? '', current, (text) =>
        text.replace('audit.rekeyed', 'audit.rotated'),
      );
      const fifth = forged(lines[4] ?? '', current, prevAs(fourth));
      const sixth = forged(lines[5] ?? '', current, prevAs(fifth));
      return [...lines.slice(0, 3), fourth, fifth, sixth, forged(lines[6] ?? '', current, prevAs(sixth))];
    });
    expect(await problems(file)).toContain('edited 4');
  });

  it('shows a log that the holder of the old key cut back to before the rotation', async () => {
    const file = await newLogFile();
    const before = await openLog(file, { vault: old });
    await write(before, 3);
    await before.close();
    // Authentic in all parts, with the retired key.
    expect(await problems(file)).toEqual(['repeated 1']);
  });
});
