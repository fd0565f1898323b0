import { describe, expect, it } from 'vitest';
import type { AuditEvent } from '../../src/domain/event.ts';
import { chainMac, genesis, lineFields, LineBatch } from '../../src/audit/line.ts';
import * as fc from '../support/fast-check.ts';
import { vaultForTest } from '../unit/audit/vault-for-test.ts';

const mac = chainMac(vaultForTest());
const optional = <T>(values: fc.Arbitrary<T>) => fc.option(values, { nil: undefined });
const text = optional(
  fc.oneof(
    fc.string({ maxLength: 20 }),
    fc.string({ unit: 'binary', maxLength: 20 }),
    fc.string({ minLength: 250, maxLength: 2_100 }),
    fc.constantFrom(
      'https',
      'ok',
      'allow',
      '\ud800',
      'a\u202eb',
      '"\\\n\u007f',
      '/a?b#c',
      '\u{1f600}'.repeat(200),
    ),
  ),
);
const number = optional(
  fc.oneof(fc.double(), fc.integer(), fc.nat(999), fc.constantFrom(0, -0, 9, 10, 1e9 - 1, 1e9, 2 ** 53, NaN)),
);

const events: fc.Arbitrary<AuditEvent> = fc.record({
  event: fc.constantFrom('access', 'outcome', 'grant.refreshed'),
  exchange: text,
  agent: text,
  lease: text,
  subject: text,
  user: text,
  grant: text,
  provider: text,
  client: text,
  host: text,
  port: number,
  credential: text,
  scheme: text,
  approval: text,
  by: text,
  method: text,
  path: text,
  outcome: text,
  code: text,
  status: number,
  reason: text,
  bytes_in: number,
  bytes_out: number,
  duration_ms: number,
  leaks: number,
  foreign: text,
} satisfies Record<keyof AuditEvent, unknown>);

const limits: Readonly<Record<string, number>> = Object.fromEntries(
  [
    'exchange 64, agent 256, lease 128, subject 200, user 256, grant 128, provider 128, client 128, scheme 16',
    'host 260, credential 128, approval 16, by 160, method 64, path 2048, outcome 32, code 64, reason 512, foreign 256',
  ].flatMap((line) =>
    line
      .split(', ')
      .map((each) => each.split(' '))
      .map(([name, limit]) => [name, Number(limit)]),
  ),
);

const usual: Readonly<Record<string, string>> = { access: 'allow', outcome: 'ok' };

/** The fields of an event as text, by `JSON.stringify`. */
function reference(event: AuditEvent): string {
  const names = lineFields.slice(3, -2) as readonly (keyof AuditEvent)[];
  const parts = names.flatMap((name) => {
    const value = event[name];
    if (name === 'scheme' && value === 'https' && event.event === 'access') return [];
    if (name === 'outcome' && value === usual[event.event]) return [];
    if (value === undefined || (typeof value === 'number' && !Number.isFinite(value))) return [];
    if (typeof value === 'number') return [`"${name}":${Math.round(value * 1_000) / 1_000}`];
    const kept = (name === 'path' ? value.split(/[?#]/)[0] : value)?.slice(0, limits[name]);
    const json = JSON.stringify(kept).replace(
      /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
      (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
    return [`"${name}":${json}`];
  });
  return parts.join(',');
}

const start = { seq: 0, hash: genesis };
const time = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

describe('the serialized audit lines', () => {
  it('equal the output of JSON.stringify', () => {
    const batch = new LineBatch(mac);
    fc.assert(
      fc.property(fc.array(events, { minLength: 1, maxLength: 4 }), (some) => {
        batch.begin(start);
        for (const event of some) batch.add(event, time, 'host/1');
        const lines = batch.bytes().toString().split('\n');
        for (const [index, event] of some.entries()) {
          const [signed = '', hash] = (lines[index] ?? '').split(/,"hash":"(?=[\w-]{22}"\}$)/);
          expect(hash).toBe(`${mac(signed)}"}`);
          const prev = (index === 0 ? genesis : batch.head(index).hash).slice(0, 8);
          expect(signed).toBe(
            `{"v":1,"seq":${index + 1},"time":"2026-01-02T03:04:05.678Z","node":"host/1",` +
              `${reference(event)},"prev":"${prev}"`,
          );
          expect(batch.head(index + 1)).toEqual({ seq: index + 1, hash: hash?.slice(0, 22) });
        }
        expect(lines).toHaveLength(some.length + 1);
      }),
    );
  });

  it('fit in their buffer, whatever their number and the length of their texts', () => {
    const batch = new LineBatch(mac);
    batch.begin(start);
    const worst = '\u202e'.repeat(10_000);
    const texts = Object.fromEntries(Object.keys(limits).map((name) => [name, worst]));
    const event = { ...texts, event: 'access', port: -1 / 3, bytes_in: 1e300, leaks: 1e-7 } as AuditEvent;
    while (batch.hasRoom) batch.add(event, time, 'h'.repeat(110), '1:5');
    const lines = batch.bytes().toString().trimEnd().split('\n');
    expect(lines).toHaveLength(batch.count);
    for (const line of lines) expect((JSON.parse(line) as AuditEvent).reason).toHaveLength(512);
    expect(batch.bytes().at(-1)).toBe(0x0a);
    expect(batch.bytes().length).toBeLessThanOrEqual(262_144);
    for (let count = 1; count <= batch.count; count += 1) {
      const { length } = batch.bytes(count);
      expect([length - 2, length - 1, length].map((bytes) => batch.wholeLines(bytes))).toEqual([
        count - 1,
        count,
        count,
      ]);
    }
  });
});
