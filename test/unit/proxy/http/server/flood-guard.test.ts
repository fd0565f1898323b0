import { describe, expect, it } from 'vitest';
import { isFlood, type SessionTraffic } from '../../../../../src/proxy/http/server/h2-session.ts';

const none: SessionTraffic = { read: 0, bodyIn: 0, bodyOut: 0, pieces: 0, requests: 0, heads: 0 };
const minute = 60_000;

describe('a session', () => {
  it.each<[string, Partial<SessionTraffic>, number]>([
    ['is idle', { read: 100 }, 0],
    // 17 bytes for each PING, one in each second, for a day.
    ['is kept alive', { read: 86_400 * 17 }, 86_400_000],
    ['sends many requests', { read: 10_000 * 400, requests: 10_000, heads: 10_000 * 300 }, minute],
    ['sends a large body', { read: 1_001_000_000, bodyIn: 1_000_000_000, pieces: 61_000 }, minute],
    // 9 bytes around each.
    ['sends a body byte by byte', { read: 10_000_000, bodyIn: 1_000_000, pieces: 1_000_000 }, minute],
    // 26 bytes for each frame that came.
    ['acknowledges each piece of a large body', { read: 62_000 * 26, bodyOut: 1e9, pieces: 62_000 }, 10_000],
    [
      'acknowledges each event of a stream',
      { read: 1_000_000 * 26, bodyOut: 1e8, pieces: 1_000_000 },
      minute,
    ],
  ])('is not a flood if it %s', (_what, traffic, ageMs) => {
    expect(isFlood({ ...none, ...traffic }, ageMs)).toBe(false);
  });

  it.each<[string, Partial<SessionTraffic>, number]>([
    ['sends 10,000 PINGs in its first second', { read: 170_000 }, 1_000],
    ['sends 3,000 PINGs in each second for an hour', { read: 3_000 * 17 * 3_600 }, 3_600_000],
    ['sends heads that are refused', { read: 20 * 16_000 }, 2_000],
    ['sends what bodies do not explain', { read: 3_000_000, bodyIn: 1_000_000, pieces: 62 }, 10_000],
  ])('is a flood if it %s', (_what, traffic, ageMs) => {
    expect(isFlood({ ...none, ...traffic }, ageMs)).toBe(true);
  });
});
