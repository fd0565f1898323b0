import fs from 'node:fs';
import { expect, it } from 'vitest';
import {
  decodeHead,
  encodeHead,
  headFile,
  headSize,
  openHead,
  readHeads,
} from '../../../src/audit/live-file.ts';
import { newLogFile } from './log-for-test.ts';
import { vaultForTest } from './vault-for-test.ts';

const vault = vaultForTest();
const head = { node: 'host/1', seq: 7, hash: 'ab'.repeat(32), closed: true };

it('a head record has a fixed size, ends with a newline, and decodes to its content', () => {
  const record = encodeHead(head, vault);
  expect(record.length).toBe(headSize);
  expect(record.at(-1)).toBe(0x0a);
  expect(decodeHead(record, vault)).toEqual({ kind: 'head', head, key: expect.anything() });
});

it('a head record keeps its size with the longest name and number', () => {
  const long = { ...head, node: `${'n'.repeat(100)}/256`, seq: Number.MAX_SAFE_INTEGER, closed: false };
  expect(decodeHead(encodeHead(long, vault), vault)).toEqual({
    kind: 'head',
    head: long,
    key: expect.anything(),
  });
});

it('a head record of another key, a changed record and a missing record are distinguished', () => {
  const record = encodeHead(head, vault);
  expect(decodeHead(record, vaultForTest('other'))).toEqual({ kind: 'other-key', keyId: vault.keyId });
  for (let at = 0; at < headSize; at += 1) {
    const changed = Buffer.from(record);
    changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
    expect(decodeHead(changed, vault).kind).not.toBe('head');
  }
  expect(decodeHead(record.subarray(1), vault)).toEqual({ kind: 'broken' });
  expect(decodeHead(Buffer.alloc(headSize), vault)).toEqual({ kind: 'none' });
});

it('a head record is kept for each slot in a file that only its owner may read', async () => {
  const file = await newLogFile();
  expect(readHeads(file, vault)).toEqual([]);
  const writer = openHead(file, 3, vault);
  writer.write(head);
  writer.write({ ...head, seq: 8 });
  writer.close();
  expect(readHeads(file, vault)).toEqual([
    { kind: 'none' },
    { kind: 'none' },
    { kind: 'head', head: { ...head, seq: 8 }, key: expect.anything() },
  ]);
  expect(fs.statSync(headFile(file)).mode & 0o777).toBe(0o600);
});

it('the writer of a head record notices that its file was removed', async () => {
  const file = await newLogFile();
  const writer = openHead(file, 1, vault);
  expect(writer.inPlace()).toBe(true);
  fs.rmSync(headFile(file));
  expect(writer.inPlace()).toBe(false);
  writer.close();
});
