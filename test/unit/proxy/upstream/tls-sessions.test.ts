import { expect, it } from 'vitest';
import { createTlsSessions, type TlsSession } from '../../../../src/proxy/upstream/tls.ts';
import { manualClock } from '../../lib/manual-clock.ts';

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

it('the session cache returns each session once, newest first, and the last one repeatedly', () => {
  const { keep, text } = sessions();
  keep('a', '1');
  keep('a', '2');
  expect([text('a'), text('a'), text('a')]).toEqual(['2', '1', '1']);
  keep('a', '3');
  expect([text('a'), text('a')]).toEqual(['3', '1']);
});

it('the session cache returns no session of another authority', () => {
  const { keep, text } = sessions();
  keep('a', '1');
  expect(text('b')).toBe(undefined);
});

it('the session cache keeps the last four sessions of an authority', () => {
  const { keep, text } = sessions();
  for (const name of ['1', '2', '3', '4', '5']) keep('a', name);
  expect(Array.from({ length: 5 }, () => text('a'))).toEqual(['5', '4', '3', '2', '2']);
});

it('the session cache requires a full handshake an hour after the last one, despite resumptions', () => {
  const { keep, take, text, clock } = sessions();
  keep('a', 'first');
  clock.advance(hour - 1);
  keep('a', 'of a resumed one', take('a'));
  clock.advance(1);
  expect(text('a')).toBe(undefined);
});

it('the session cache keeps a new session when an older session expires', () => {
  const { keep, take, text, clock } = sessions();
  keep('a', 'old');
  const old = take('a');
  clock.advance(hour - 1);
  keep('a', 'fresh');
  keep('a', 'of the old', old);
  clock.advance(1);
  expect(text('a')).toBe('fresh');
});
