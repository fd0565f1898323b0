import { describe, expect, it } from 'vitest';
import type { AuditEvent, AuditLine } from '../../../src/domain/event.ts';
import { joinExchanges } from '../../../src/audit/join.ts';
import { access } from './log-for-test.ts';

function line(event: AuditEvent, seq = 1): AuditLine {
  const chain = { node: 'host/1', prev: 'p', hash: `h${seq}` };
  return { v: 1, seq, time: '2026-01-02T03:04:05.000Z', ...event, ...chain };
}

const begin = line({ ...access('/a'), grant: 'g', reason: 'a ticket', outcome: 'allow' }, 1);
const end = line({ event: 'outcome', exchange: 'x1', outcome: 'failed', code: 'internal', status: 500 }, 2);

describe('the end of an exchange', () => {
  it('gets the fields of its access record, and keeps its own fields', () => {
    const join = joinExchanges();
    expect(join(begin)).toBe(begin);
    const joined = join({ ...end, prev_end: '1:5' });
    const { agent, grant, method, scheme, host, port, path, reason } = begin;
    expect(joined).toEqual({
      ...end,
      prev_end: '1:5',
      agent,
      grant,
      method,
      scheme,
      host,
      port,
      path,
      reason,
    });
    expect(Object.keys(joined).join(' ')).toBe(
      'v seq time node event exchange agent grant host port scheme method path outcome code status reason prev_end prev hash',
    );
    // A line that is read again.
    expect(join(end).path).toBe('/a');
  });

  it('keeps its own reason, and gets the credential of the last access record', () => {
    const join = joinExchanges();
    join({ ...begin, credential: 'old' });
    join({ ...begin, credential: 'new' });
    expect(join({ ...end, reason: 'scopes' })).toMatchObject({ reason: 'scopes', credential: 'new' });
  });

  it('is joined for tunnels too, and other events are unchanged', () => {
    const join = joinExchanges();
    join(begin);
    expect(join({ ...end, event: 'tunnel' }).host).toBe('api.example.com');
    const limited = line({ event: 'leak.limited', exchange: 'x1' });
    expect(join(limited)).toBe(limited);
  });

  it('gets the default outcome and scheme if the log leaves them out', () => {
    const join = joinExchanges();
    const { outcome: _outcome, scheme: _scheme, ...short } = begin;
    expect(join(short)).toEqual(begin);
    const { outcome: _failed, code: _code, ...ok } = end;
    expect(join(ok)).toMatchObject({ outcome: 'ok', scheme: 'https', path: '/a' });
    const change = line({ event: 'proxy.started', host: '127.0.0.1', port: 8080 });
    expect(join(change)).toBe(change);
  });

  it('is unchanged without its access record, or when too many other exchanges came between', () => {
    const join = joinExchanges();
    expect(join(end)).toBe(end);
    join(begin);
    for (let n = 0; n < 16_384; n += 1) join({ ...begin, exchange: `other-${n}` });
    expect(join(end)).toBe(end);
    for (let n = 0; n < 16_384; n += 1) join({ ...end, exchange: `other-${n}` });
    expect(join({ ...end, exchange: 'other-0' }).path).toBeUndefined();
    expect(join({ ...end, exchange: 'other-16383' }).path).toBe('/a');
  });
});
