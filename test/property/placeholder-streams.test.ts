/** Replacements and matches in a stream equal those in the whole text, however it is split. */
import { createHmac } from 'node:crypto';
import type { Writable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import * as ws from 'ws';
import {
  createPlaceholderCodes,
  plainForm,
  readForm,
  replaceIn,
} from '../../src/proxy/placeholders/codes.ts';
import { ClientFrames, PlaceholderScanner, Replacer } from '../../src/proxy/placeholders/stream.ts';
import * as fc from '../support/fast-check.ts';

/** The parts of the library that its types do not name. */
const { Receiver, Sender } = ws as unknown as {
  readonly Receiver: new (options: { readonly isServer: boolean }) => Writable;
  readonly Sender: { frame(data: Buffer, options: object): Buffer[] };
};

const codes = createPlaceholderCodes((text) => createHmac('sha256', 'key').update(text).digest('hex'));
const github = readForm('ghp_sidekeyPlaceholder000000000000000000')!;
const hex = readForm('0'.repeat(40))!;
const own = [codes.make(github, 'anyone', 'g'), codes.make(plainForm, 'anyone', 'g')];
const [placeholder = '', plain = ''] = own;
const value = 'real"secret';

/** Texts with placeholders, parts of them, and what looks like their beginnings. */
const text = fc
  .array(
    fc.oneof(
      fc.constantFrom(placeholder, plain, 'ghp_', 'ghp_sidekey', 'sidekey', 's', 'g', '{"token":"', '"}'),
      fc.nat(placeholder.length).map((end) => placeholder.slice(0, end)),
      fc.nat(placeholder.length).map((start) => placeholder.slice(start)),
      fc.string({ maxLength: 20 }),
    ),
    { maxLength: 12 },
  )
  .map((parts) => parts.join(''));

function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const places = [...new Set(at.map((place) => place % (bytes.length + 1)))].toSorted((a, b) => a - b);
  return [0, ...places].map((start, i) => bytes.subarray(start, places[i] ?? bytes.length));
}

const cuts = fc.array(fc.nat(), { maxLength: 8 });

describe('the replacement of texts in a stream', () => {
  const replacement = { texts: own.map((each) => Buffer.from(each)), value: Buffer.from(value) };

  test('has the same result as in the whole text', () => {
    fc.assert(
      fc.property(text, cuts, (whole, at) => {
        const replacer = new Replacer(replacement);
        const pieces = cut(Buffer.from(whole), at).flatMap((piece) => replacer.push(piece));
        const done = Buffer.concat([...pieces, ...replacer.end()]).toString();
        expect(done).toBe(replaceIn(whole, own, value));
      }),
      { numRuns: 3_000 },
    );
  });

  test('holds back only bytes that can begin one of the texts', () => {
    const replacer = new Replacer(replacement);
    expect(Buffer.concat([...replacer.push(Buffer.from('{"a":1}\n'))]).toString()).toBe('{"a":1}\n');
    expect(Buffer.concat([...replacer.push(Buffer.from('the key ghp_side'))]).toString()).toBe('the key ');
    expect(Buffer.concat([...replacer.push(Buffer.from('walk'))]).toString()).toBe('ghp_sidewalk');
  });

  test('handles 50,000 occurrences in one piece', () => {
    const replacer = new Replacer(replacement);
    const many = Buffer.from(plain.repeat(50_000));
    expect(Buffer.concat([...replacer.push(many), ...replacer.end()]).length).toBe(50_000 * value.length);
  });
});

test('a placeholder is found in a stream, at every split', () => {
  const forms = [github, plainForm, hex];
  fc.assert(
    fc.property(fc.constantFrom(...forms), fc.string(), fc.string(), cuts, (form, before, after, at) => {
      const made = codes.make(form, 'anyone', 'g');
      const scanner = new PlaceholderScanner(codes);
      const found = cut(Buffer.from(before + made + after), at).flatMap((piece) => [...scanner.push(piece)]);
      expect(found.some((each) => codes.isOf(each, 'anyone', 'g'))).toBe(true);
    }),
    { numRuns: 2_000 },
  );
});

const one = () => new ClientFrames({ texts: [], value: Buffer.alloc(0) });

function frame(data: Buffer, opcode: number, fin: boolean): Buffer[] {
  return Sender.frame(Buffer.from(data), { fin, opcode, mask: true, readOnly: true, rsv1: false });
}

async function received(bytes: Buffer): Promise<{ data: string; isBinary: boolean }[]> {
  const receiver = new Receiver({ isServer: true });
  const messages: { data: string; isBinary: boolean }[] = [];
  receiver.on('message', (data: Buffer, isBinary: boolean) =>
    messages.push({ data: data.toString(), isBinary }),
  );
  const failed = new Promise<never>((_, reject) => receiver.on('error', reject));
  await Promise.race([new Promise((resolve) => receiver.end(bytes, () => resolve(undefined))), failed]);
  return messages;
}

/** Frames as a client sends them: some in fragments, with a ping between. */
function sent(messages: readonly { data: Buffer; binary: boolean }[], fragments: readonly number[]): Buffer {
  const frames = messages.flatMap(({ data, binary }, i) => {
    const parts = cut(data, [fragments[i % Math.max(1, fragments.length)] ?? 0]);
    return parts.flatMap((part, at) => [
      ...frame(part, at === 0 ? (binary ? 2 : 1) : 0, at === parts.length - 1),
      ...(at === 0 ? frame(Buffer.from('p'), 9, true) : []),
    ]);
  });
  return Buffer.concat(frames);
}

describe('WebSocket frames of a client', () => {
  const message = fc.oneof(
    text.map((data) => ({ data: Buffer.from(data), binary: false })),
    text.map((data) => ({ data: Buffer.from(data), binary: true })),
    fc.nat(300).map((length) => ({ data: Buffer.alloc(length * 1_000, 'x'), binary: false })),
  );

  test('have the same messages, with texts replaced only in text messages, at every split', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(message, { maxLength: 4 }), cuts, cuts, async (messages, fragments, at) => {
        const frames = new ClientFrames({
          texts: own.map((each) => Buffer.from(each)),
          value: Buffer.from(value),
        });
        const bytes = cut(sent(messages, fragments), at).flatMap((piece) => [...frames.push(piece)]);
        expect(await received(Buffer.concat(bytes))).toEqual(
          messages.map(({ data, binary }) => ({
            data: binary ? data.toString() : replaceIn(data.toString(), own, value),
            isBinary: binary,
          })),
        );
      }),
      { numRuns: 300 },
    );
  });

  test('are refused if they are unmasked, changed by an extension or out of sequence', () => {
    expect(() => one().push(Buffer.from([0x81, 0x01, 0x61]))).toThrow('no frames of a WebSocket');
    expect(() => one().push(Buffer.from([0xc1, 0x81, 1, 2, 3, 4, 5]))).toThrow('no frames of a WebSocket');
    const begun = one();
    begun.push(Buffer.from([0x01, 0x81, 0, 0, 0, 0, 0x61]));
    expect(() => begun.push(Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0x61]))).toThrow('no frames of a WebSocket');
  });
});
