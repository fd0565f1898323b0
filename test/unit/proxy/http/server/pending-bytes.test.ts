import { expect, it } from 'vitest';
import { PendingBytes } from '../../../../../src/proxy/http/server/h1-request.ts';

it('pending bytes precede new bytes, in any number of pieces', () => {
  const pending = new PendingBytes();
  let bytes: Buffer = Buffer.alloc(0);
  for (let i = 0; i < 4_096; i += 1) {
    bytes = pending.with(Buffer.from([i % 256]));
    pending.keep(bytes, 0);
  }
  expect(bytes.length).toBe(4_096);
  expect(bytes.every((byte, i) => byte === i % 256)).toBe(true);
});

it('returned bytes stay unchanged when more arrive', () => {
  const pending = new PendingBytes();
  const first = pending.with(Buffer.from('aab'));
  pending.keep(first, 2);
  const second = pending.with(Buffer.from('bcc'));
  expect([first.toString(), second.toString()]).toEqual(['aab', 'bbcc']);
  pending.keep(second, 2);
  pending.with(Buffer.from('dddddddd'));
  expect(second.toString()).toBe('bbcc');
});

it('an empty line is recognized, and two letters are not an empty line', () => {
  for (const [text, isBlank] of [
    ['\r\n', true],
    ['\r', true],
    ['GE', false],
  ] as const) {
    const pending = new PendingBytes();
    pending.keep(pending.with(Buffer.from(text)), 0);
    expect(pending.isBlank).toBe(isBlank);
  }
});
