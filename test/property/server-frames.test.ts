/** Messages of a WebSocket server are redacted however their frames are split, and frames keep their form. */
import type { Writable } from 'node:stream';
import * as fc from '../support/fast-check.ts';
import { expect, test } from 'vitest';
import * as ws from 'ws';
import { matcherFor } from '../../src/proxy/leak-guard/patterns.ts';
import { ServerFrames } from '../../src/proxy/leak-guard/redactor.ts';

/** The parts of the library that its types do not name. */
const { Receiver, Sender } = ws as unknown as {
  readonly Receiver: new (options: { readonly isServer: boolean }) => Writable;
  readonly Sender: { frame(data: Buffer, options: object): Buffer[] };
};

const secret = 'a-secret-0123456789';
const matcher = matcherFor({ texts: [secret] })!;
const text = fc
  .array(
    fc.oneof(
      fc.constantFrom(secret, Buffer.from(secret).toString('base64'), 'a-secret-', 'a'),
      fc.nat(secret.length).map((end) => secret.slice(0, end)),
      fc.stringMatching(/^[a-z0-9-]{0,20}$/),
    ),
    { maxLength: 10 },
  )
  .map((parts) => parts.join(''));

function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const places = [...new Set(at.map((place) => place % (bytes.length + 1)))].toSorted((a, b) => a - b);
  return [0, ...places].map((start, i) => bytes.subarray(start, places[i] ?? bytes.length));
}
const cuts = fc.array(fc.nat(), { maxLength: 8 });

const frame = (data: Buffer, opcode: number, fin: boolean) =>
  Sender.frame(Buffer.from(data), { fin, opcode, mask: false, readOnly: true, rsv1: false });

async function received(bytes: Buffer): Promise<string[]> {
  const receiver = new Receiver({ isServer: false });
  const got: string[] = [];
  for (const kind of ['message', 'ping'])
    receiver.on(kind, (data: Buffer) => got.push(`${kind} ${data.toString()}`));
  const failed = new Promise<never>((_, reject) => receiver.on('error', reject));
  await Promise.race([new Promise((resolve) => receiver.end(bytes, () => resolve(undefined))), failed]);
  return got;
}

test('each WebSocket message is redacted as a whole, and keeps its frames', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(text, { maxLength: 4 }), cuts, cuts, async (messages, fragments, at) => {
      const said = messages.flatMap((message) => {
        const parts = cut(Buffer.from(message), fragments);
        return parts.flatMap((part, i) => [
          ...frame(part, i === 0 ? 1 : 0, i === parts.length - 1),
          ...frame(Buffer.from(secret), 9, true),
        ]);
      });
      const bytes = Buffer.concat(said);
      const frames = new ServerFrames(matcher);
      const done = Buffer.concat(cut(bytes, at).flatMap((piece) => [...frames.push(piece)]));
      expect(done.length).toBe(bytes.length);
      const before = await received(bytes);
      const after = await received(done);
      expect(after.length).toBe(before.length);
      for (const [i, each] of after.entries()) {
        expect(each).not.toContain(secret);
        // Bytes outside the mask are unchanged, and without a start of the secret nothing is masked.
        expect(Array.from(each, (letter, at) => (letter === '*' ? before[i]![at] : letter)).join('')).toBe(
          before[i],
        );
        if (!each.includes('*')) expect(before[i]).not.toContain(secret);
      }
    }),
    { numRuns: 500 },
  );
});

test('the bytes that are held back from a server are limited', () => {
  const frames = new ServerFrames(matcher);
  frames.push(Buffer.concat(frame(Buffer.from('a-secret-'), 1, false)));
  const pings = Buffer.concat(
    Array.from({ length: 1_001 }, () => Buffer.concat(frame(Buffer.alloc(0), 9, true))),
  );
  const done = Buffer.concat([...frames.push(pings)]);
  expect(done.toString()).toMatch(/^a-secret-/);
});

test('bytes that are not frames of a server are refused', () => {
  for (const first of [
    [0xc1, 0x01],
    [0x81, 0x81],
    [0x89, 0x7e, 0, 200],
  ])
    expect(() => new ServerFrames(matcher).push(Buffer.from(first))).toThrow('no frames of a WebSocket');
});
