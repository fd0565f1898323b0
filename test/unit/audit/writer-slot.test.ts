import fs from 'node:fs';
import { describe, expect, it } from 'vitest';
import { headFile } from '../../../src/audit/live-file.ts';
import { genesis } from '../../../src/audit/line.ts';
import { claimSlot } from '../../../src/audit/writer-slot.ts';
import {
  allLines,
  asKilled,
  headsWritten,
  newLogFile,
  openLog,
  rewriteLines,
  write,
  writtenLog,
} from './log-for-test.ts';
import { vaultForTest } from './vault-for-test.ts';

const vault = vaultForTest();

describe('claiming a slot', () => {
  it('gives each writer the first free slot, with a separate chain', async () => {
    const file = await newLogFile();
    const [first, second] = [claimSlot(file, 'host', vault), claimSlot(file, 'host', vault)];
    expect([first.node, second.node]).toEqual(['host/1', 'host/2']);
    expect(first.last).toEqual({ seq: 0, hash: genesis });
    first.release(first.last);
    const third = claimSlot(file, 'host', vault);
    expect(third.node).toBe('host/1');
    for (const slot of [second, third]) slot.release(slot.last);
  });

  it('continues the chain after the host name has changed', async () => {
    const file = await writtenLog(3);
    const last = (await allLines(file)).at(-1);
    const slot = claimSlot(file, 'renamed', vault);
    expect(slot).toMatchObject({ node: 'host/1', last: { seq: 3, hash: last?.hash }, findings: [] });
    slot.release();
  });

  it('uses a plain form of any host name', async () => {
    const slot = claimSlot(await newLogFile(), 'my "host"/1\n', vault);
    expect(slot.node).toBe('my--host--1-/1');
    slot.release();
  });

  it('finds lines beyond the head record of a killed writer', async () => {
    const file = await newLogFile();
    const log = await openLog(file);
    await write(log, 2);
    const head = fs.readFileSync(headFile(file));
    await write(log, 3);
    const killed = await asKilled(file);
    fs.writeFileSync(headFile(killed), head);
    const slot = claimSlot(killed, 'host', vault);
    expect(slot.last.seq).toBe(5);
    expect(slot.findings).toEqual([]);
    slot.release();
  });

  it('finds the last line of a killed writer among lines of others, in a rotated file', async () => {
    const file = await newLogFile();
    const [first, second] = [await openLog(file), await openLog(file, { maxBytes: 1_200 })];
    await write(first, 1);
    await write(second, 30);
    const killed = await asKilled(file);
    const slot = claimSlot(killed, 'host', vault);
    expect(slot).toMatchObject({ node: 'host/1', last: { seq: 1 } });
    slot.release();
  });

  it('continues from the head if the log is shorter, so that the gap stays', async () => {
    const file = await newLogFile();
    const log = await openLog(file);
    await write(log, 5);
    await headsWritten();
    for (const cut of [await asKilled(file), await log.close().then(() => file)]) {
      rewriteLines(cut, (lines) => lines.slice(0, 2));
      const slot = claimSlot(cut, 'host', vault);
      expect(slot.last.seq).toBe(5);
      slot.release();
    }
  });

  it('continues from the log if the head record is missing or changed, and reports the damage', async () => {
    const gone = await writtenLog(3);
    fs.rmSync(headFile(gone));
    const damaged = await writtenLog(3);
    fs.writeFileSync(
      headFile(damaged),
      fs.readFileSync(headFile(damaged), 'utf8').replace('"seq":3', '"seq":1'),
    );
    for (const [file, state] of [
      [gone, 'gone'],
      [damaged, 'damaged'],
    ] as const) {
      const slot = claimSlot(file, 'host', vault);
      expect(slot.last.seq).toBe(3);
      expect(slot.findings).toEqual([expect.stringContaining(`The head record of host/1 was ${state}`)]);
      slot.release();
    }
  });

  it('refuses a log of another master key, and leaves it unchanged', async () => {
    const file = await writtenLog(3);
    const before = [fs.readFileSync(file), fs.readFileSync(headFile(file))];
    expect(() => claimSlot(file, 'host', vaultForTest('other'))).toThrow(
      expect.objectContaining({ code: 'key_mismatch', hint: expect.stringContaining('mv ') as string }),
    );
    expect([fs.readFileSync(file), fs.readFileSync(headFile(file))]).toEqual(before);
    claimSlot(file, 'host', vault).release();
  });

  it('notices that its lock or its head record was removed', async () => {
    const file = await newLogFile();
    for (const name of [`${file}.1.lock`, headFile(file)]) {
      const slot = claimSlot(file, 'host', vault);
      expect(slot.held()).toBe(true);
      fs.rmSync(name);
      expect(slot.held()).toBe(false);
      slot.release();
    }
  });
});
