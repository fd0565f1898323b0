import { expect, it } from 'vitest';
import { createTlsSessions, type TlsSession } from '../../../src/upstream/tls.ts';
import { manualClock } from '../lib/manual-clock.ts';

const hour = 3_600_000;

function sessions() {
  const clock = manualClock();
  const kept = createTlsSessions(clock);
  return {
    clock,
    keep: (authority: string, text: string, from?: TlsSession) =>
      kept.keep(authority, Buffer.from(text), from),
    take: (authority: string) => kept.take(authority),
    text: (authority: string) => kept.take(authority)?.bytes.toString(),
  };
}

it('gives each out once, the newest first, and the last again and again', () => {
  const { keep, text } = sessions();
  keep('a', '1');
  keep('a', '2');
  expect([text('a'), text('a'), text('a')]).toEqual(['2', '1', '1']);
  keep('a', '3');
  expect([text('a'), text('a')]).toEqual(['3', '1']);
});

it('gives nobody the session of another authority', () => {
  const { keep, text } = sessions();
  keep('a', '1');
  expect(text('b')).toBe(undefined);
});

it('keeps the last four of an authority', () => {
  const { keep, text } = sessions();
  for (const name of ['1', '2', '3', '4', '5']) keep('a', name);
  expect(Array.from({ length: 5 }, () => text('a'))).toEqual(['5', '4', '3', '2', '2']);
});

it('asks for a certificate an hour after it was seen, however often it was resumed since', () => {
  const { keep, take, text, clock } = sessions();
  keep('a', 'first');
  clock.advance(hour - 1);
  keep('a', 'of a resumed one', take('a'));
  clock.advance(1);
  expect(text('a')).toBe(undefined);
});

it('does not forget a fresh one because of an older one behind it', () => {
  const { keep, take, text, clock } = sessions();
  keep('a', 'old');
  const old = take('a');
  clock.advance(hour - 1);
  keep('a', 'fresh');
  keep('a', 'of the old', old);
  clock.advance(1);
  expect(text('a')).toBe('fresh');
});
