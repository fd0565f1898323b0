import { describe, expect, it } from 'vitest';
import type { AuditEvent } from '../../../src/domain/event.ts';
import { chainMac, genesis } from '../../../src/audit/line.ts';
import { parseLine, piecesOf, readPiece } from '../../../src/audit/piece.ts';
import { composeLine } from './compose-line.ts';
import { vaultForTest } from './vault-for-test.ts';

const mac = chainMac(vaultForTest());
const otherMac = chainMac(vaultForTest('other'));
const start = { seq: 0, hash: genesis };
const time = '2026-01-02T03:04:05.000Z';

/** Each field of an event. The compiler requires new fields here, and a test in the line. */
const full: Required<AuditEvent> = {
  foreign: 'header authorization bearer',
  leaks: 1,
  approval: 'p',
  subject: 'repo:acme/app',
  credential: 'c0ffee',
  duration_ms: 1.23456,
  bytes_out: 2,
  bytes_in: 1,
  reason: 'because',
  status: 200,
  code: 'rule_denied',
  outcome: 'ok',
  path: '/a',
  port: 443,
  host: 'api.example.com',
  scheme: 'http',
  method: 'GET',
  client: '127.0.0.1:5',
  by: 'alice (as root)',
  provider: 'acme',
  grant: 'g',
  user: 'alice',
  lease: 'l',
  agent: 'ci',
  exchange: 'x',
  event: 'access',
};

function line(event: AuditEvent): string {
  return composeLine(event, time, 'host/1', start, mac).text;
}

/** The names of the fields between `event` and `prev`. */
function keys(event: AuditEvent): string[] {
  return Object.keys(JSON.parse(line(event)) as object).slice(5, -2);
}

describe('the text of an audit line', () => {
  it('has the public fields in their order', () => {
    expect(Object.keys(JSON.parse(line(full)) as object).join(' ')).toBe(
      'v seq time node event exchange agent lease subject user grant provider client host port credential scheme ' +
        'approval by method path outcome code status reason bytes_in bytes_out duration_ms leaks foreign prev hash',
    );
  });

  it('has each field of an event that has them all', () => {
    expect(new Set(keys(full))).toEqual(new Set(Object.keys(full).filter((name) => name !== 'event')));
  });

  it('has values unchanged, and durations to the microsecond', () => {
    const read = parseLine(Buffer.from(line(full)));
    expect(read).toMatchObject({
      ...full,
      duration_ms: 1.235,
      v: 1,
      seq: 1,
      time,
      node: 'host/1',
      prev: '00000000',
    });
  });

  it('omits the usual outcome, and the usual scheme of an access', () => {
    expect(keys({ event: 'access', outcome: 'allow', scheme: 'https' })).toEqual([]);
    expect(keys({ event: 'access', outcome: 'ok', scheme: 'http' })).toEqual(['scheme', 'outcome']);
    expect(keys({ event: 'outcome', outcome: 'ok' })).toEqual([]);
    expect(keys({ event: 'tunnel', outcome: 'ok' })).toEqual([]);
    expect(keys({ event: 'denied', outcome: 'deny', scheme: 'https' })).toEqual(['scheme', 'outcome']);
    expect(keys({ event: 'grant.added', outcome: 'allow' })).toEqual(['outcome']);
  });

  it('omits fields that do not apply, and numbers that are not finite', () => {
    const read = JSON.parse(
      line({ event: 'denied', agent: undefined, status: NaN, bytes_in: Infinity }),
    ) as object;
    expect(Object.keys(read)).toEqual(['v', 'seq', 'time', 'node', 'event', 'prev', 'hash']);
  });

  it('cuts a path at 2,048 characters, a reason at 512, and every other string at its maximum', () => {
    const long = 'x'.repeat(100_000);
    const read = parseLine(
      Buffer.from(line({ event: 'access', path: `/${long}`, reason: long, agent: long, host: long })),
    );
    expect([read?.path?.length, read?.reason?.length]).toEqual([2_048, 512]);
    const strings = Object.fromEntries(
      Object.entries(full).map(([name, value]) => [name, typeof value === 'string' ? long : value]),
    );
    expect(line({ ...strings, event: 'access' }).length).toBeLessThan(6_000);
  });

  it('is one line of JSON with any strings', () => {
    const nasty = 'a\n{"v":1,"seq":2}\r\u0000"\\\u2028\u{1f600}\ud800é';
    const text = line({ event: 'access', agent: nasty });
    expect(text).not.toMatch(/[\n\r\u2028]/);
    expect(piecesOf(Buffer.from(text))).toHaveLength(1);
    expect(parseLine(Buffer.from(text))?.agent).toBe(nasty);
    expect(readPiece(Buffer.from(text), mac).kind).toBe('line');
  });

  it('has a hash of its own bytes, and the hash of the line before', () => {
    const first = composeLine(full, time, 'host/1', start, mac);
    const second = composeLine(full, time, 'host/1', first.head, mac);
    const [signed = '', tail] = second.text.split(',"hash":"');
    expect(tail).toBe(`${mac(signed)}"}`);
    expect(signed).toContain(`"seq":2,`);
    expect(signed.endsWith(`,"prev":"${first.head.hash.slice(0, 8)}"`)).toBe(true);
  });
});

describe('reading a piece of the file', () => {
  const text = line(full);

  it('returns the position of an authentic line in its chain', () => {
    const hash = text.slice(-24, -2);
    expect(readPiece(Buffer.from(text), mac)).toEqual({
      kind: 'line',
      node: 'host/1',
      seq: 1,
      prev: '00000000',
      hash,
      event: 'access',
    });
  });

  it('rejects a line with the hash of another key, and any other bytes', () => {
    expect(readPiece(Buffer.from(text), otherMac).kind).toBe('altered');
    expect(readPiece(Buffer.from(text.replace('"seq"', ' "seq"')), mac).kind).toBe('altered');
    expect(readPiece(Buffer.from(`${text} `), mac).kind).not.toBe('line');
  });

  it('classifies every beginning of a line as torn, with its claim', () => {
    for (let length = 1; length < text.length; length += 1) {
      expect(readPiece(Buffer.from(text.slice(0, length)), mac).kind).toBe('torn');
    }
    expect(readPiece(Buffer.from(text.slice(0, 90)), mac)).toEqual({
      kind: 'torn',
      claim: { node: 'host/1', seq: 1 },
    });
    expect(readPiece(Buffer.from(text.slice(0, 20)), mac)).toEqual({ kind: 'torn', claim: undefined });
  });

  it('classifies several incomplete lines in a row as torn', () => {
    for (const torn of ['{"v":{"v"', '{{{"v":1', '{"v":1,"se{"v":1,"seq":7,"ti']) {
      for (const piece of piecesOf(Buffer.from(torn))) expect(readPiece(piece, mac).kind).toBe('torn');
    }
  });

  it('classifies text that no writer produced as altered', () => {
    for (const foreign of ['x', '{}', 'hello', text.slice(1), `x${text}`]) {
      expect(readPiece(Buffer.from(foreign), mac).kind).toBe('altered');
    }
  });

  it('separates a line from a torn line before it', () => {
    const pieces = piecesOf(Buffer.from(text.slice(0, 100) + text));
    expect(pieces.map((piece) => readPiece(piece, mac).kind)).toEqual(['torn', 'line']);
    expect(piecesOf(Buffer.from(''))).toEqual([]);
  });
});
