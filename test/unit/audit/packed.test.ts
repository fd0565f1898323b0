import fs from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { blockSize, openPacked, packBlock, PackedDamage } from '../../../src/audit/packed.ts';
import { tempFolder } from '../../support/temp-folder.ts';

async function packed(text: Buffer): Promise<string> {
  const file = join(await tempFolder(), 'text.gz');
  for (let at = 0; at < text.length; at += blockSize) {
    fs.appendFileSync(file, await packBlock(text.subarray(at, at + blockSize)));
  }
  return file;
}

/** All text of a packed file, read in pieces. */
function readAll(file: string, piece = 100_000): Buffer {
  const fd = fs.openSync(file, 'r');
  try {
    const text = openPacked(fd);
    const pieces: Buffer[] = [];
    for (let at = 0; ;) {
      const into = Buffer.alloc(piece);
      const read = text.read(into, at);
      if (read === 0) return Buffer.concat(pieces);
      pieces.push(into.subarray(0, read));
      at += read;
    }
  } finally {
    fs.closeSync(fd);
  }
}

const lines = (count: number) =>
  Buffer.from(
    Array.from({ length: count }, (_, index) => `line ${index} é ${(index * 7_919) % 1_001}\n`).join(''),
  );

it('a packed file returns its text from any position, and gunzip can read the file', async () => {
  const text = lines(60_000);
  const file = await packed(text);
  expect(text.length).toBeGreaterThan(3 * blockSize);
  expect(fs.statSync(file).size).toBeLessThan(text.length / 2);
  expect(readAll(file).equals(text)).toBe(true);
  expect(gunzipSync(fs.readFileSync(file)).equals(text)).toBe(true);
  const fd = fs.openSync(file, 'r');
  const opened = openPacked(fd);
  expect([opened.size, opened.damage]).toEqual([text.length, undefined]);
  for (const at of [0, 1, blockSize - 1, blockSize, blockSize + 1, text.length - 1, 5, text.length]) {
    const into = Buffer.alloc(10);
    const read = opened.read(into, at);
    expect(into.subarray(0, read).equals(text.subarray(at, at + read))).toBe(true);
    expect(read > 0).toBe(at < text.length);
  }
  fs.closeSync(fd);
});

it('a packed file detects every changed byte of the compressed data and around it', async () => {
  const file = await packed(lines(30));
  const whole = fs.readFileSync(file);
  for (let at = 0; at < whole.length; at += 1) {
    for (const change of [1, 0x80]) {
      const bytes = Buffer.from(whole);
      bytes.writeUInt8(bytes.readUInt8(at) ^ change, at);
      fs.writeFileSync(file, bytes);
      expect(() => readAll(file), `byte ${at}`).toThrow(PackedDamage);
    }
  }
});

it('a packed file detects every cut within a block', async () => {
  const file = await packed(lines(30));
  const whole = fs.readFileSync(file);
  for (let size = 1; size < whole.length; size += 1) {
    fs.writeFileSync(file, whole.subarray(0, size));
    expect(() => readAll(file), `${size} bytes`).toThrow(PackedDamage);
  }
});

it('a packed file inflates no more than the size of a block', async () => {
  const file = await packed(Buffer.alloc(blockSize, 'x'));
  expect(readAll(file).length).toBe(blockSize);
  const tooLong = await packBlock(Buffer.alloc(10 * blockSize, 'x'));
  fs.writeFileSync(file, tooLong);
  expect(() => readAll(file)).toThrow(PackedDamage);
  // A file with a false size is not inflated beyond it.
  tooLong.writeUInt32LE(10, tooLong.length - 4);
  fs.writeFileSync(file, tooLong);
  expect(() => readAll(file)).toThrow('cannot be inflated');
});
