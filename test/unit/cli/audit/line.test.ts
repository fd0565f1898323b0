import { describe, expect, it } from 'vitest';
import type { AuditEvent, AuditLine } from '../../../../src/domain/event.ts';
import { createDisplay } from '../../../../src/cli/display.ts';
import { lineFormat } from '../../../../src/cli/audit/query.ts';

const pipe = createDisplay({}, {});

let seq = 0;
function line(event: AuditEvent): AuditLine {
  seq += 1;
  return {
    v: 1,
    seq,
    time: new Date(2026, 10, 21, 6, 0, 0, 123).toISOString(),
    node: 'n/1',
    prev: '',
    hash: '',
    ...event,
  };
}

const request = {
  method: 'GET',
  scheme: 'https',
  host: 'api.example.com',
  port: 443,
  path: '/user',
  agent: 'ci',
  grant: 'id-1',
} as const;

const told = (...lines: AuditLine[]) =>
  lines.map(lineFormat(pipe, lines, (id) => (id === 'id-1' ? 'work' : id)));

describe('an audit event as text', () => {
  it('of a request shows agent, request, grant and result', () => {
    expect(
      told(
        line({ ...request, event: 'access', outcome: 'allow' }),
        line({ ...request, event: 'outcome', outcome: 'ok', status: 200, duration_ms: 12.3 }),
        line({
          ...request,
          agent: undefined,
          grant: undefined,
          port: 8443,
          event: 'denied',
          outcome: 'deny',
          status: 403,
          code: 'rule_denied',
          duration_ms: 1,
        }),
        line({ ...request, event: 'outcome', outcome: 'aborted', status: 200, duration_ms: 61_000 }),
      ),
    ).toEqual([
      'TIME                 EVENT    AGENT  REQUEST                        GRANT  RESULT                TOOK\n' +
        '2026-11-21 06:00:00  access   ci     GET api.example.com/user       work   allow',
      '2026-11-21 06:00:00  outcome  ci     GET api.example.com/user       work   200                   12 ms',
      '2026-11-21 06:00:00  denied   -      GET api.example.com:8443/user  -      deny 403 rule_denied  1 ms',
      '2026-11-21 06:00:00  outcome  ci     GET api.example.com/user       work   aborted 200           61.0 s',
    ]);
  });

  it('of another kind shows its subject and reason', () => {
    expect(
      told(
        line({ event: 'domain.changed', host: '*.example.com', outcome: 'allow', reason: 'tunnel' }),
        line({ event: 'grant.refreshed', grant: 'id-1', provider: 'google', outcome: 'ok', duration_ms: 30 }),
        line({
          event: 'grant.added',
          grant: 'id-2',
          provider: 'google',
          outcome: 'failed',
          code: 'already_exists',
        }),
        line({ event: 'config.reloaded' }),
      ),
    ).toEqual([
      'TIME                 EVENT            AGENT  REQUEST        GRANT  RESULT                 TOOK\n' +
        '2026-11-21 06:00:00  domain.changed   -      *.example.com  -      tunnel',
      '2026-11-21 06:00:00  grant.refreshed  -      google         work   ok                     30 ms',
      '2026-11-21 06:00:00  grant.added      -      google         id-2   failed already_exists',
      '2026-11-21 06:00:00  config.reloaded  -      -              -      ok',
    ]);
  });

  it('of bindings names their grants', () => {
    const reason = 'grant 63a13916-0000-4000-8000-000000000000, user alice';
    const event = line({ event: 'agent.added', agent: 'ci', reason });
    expect(lineFormat(pipe, [event], () => 'work')(event)).toMatch(/ grant work, user alice$/);
  });

  it('marks plain http, and omits the default port', () => {
    const [plain, other] = told(
      line({ ...request, scheme: 'http', port: 80, event: 'access' }),
      line({ ...request, scheme: 'http', port: 443, event: 'access' }),
    );
    expect(plain).toContain('GET http://api.example.com/user');
    expect(other).toContain('GET http://api.example.com:443/user');
  });

  it('keeps the columns of short lines with a very long path', () => {
    const [long, short] = told(
      line({ ...request, path: `/${'x'.repeat(500)}`, event: 'access' }),
      line({ ...request, event: 'access' }),
    );
    expect(long).toContain('x'.repeat(500));
    expect(short?.length).toBeLessThan(120);
  });

  it('escapes control characters of a path or a reason', () => {
    const [text] = told(line({ ...request, path: '/\u001b[2J', event: 'access' }));
    expect(text).toContain(String.raw`/\u001b[2J`);
    expect(text).not.toContain('\u001b');
  });

  it('on a narrow terminal is one line that fits, and keeps the request and its result', () => {
    const terminal = createDisplay({ isTTY: true, columns: 80 }, { NO_COLOR: '1' });
    const lines = [
      line({ ...request, event: 'outcome', outcome: 'ok', status: 200, duration_ms: 12 }),
      line({
        ...request,
        path: `/${'long/'.repeat(40)}`,
        event: 'denied',
        outcome: 'deny',
        status: 403,
        code: 'rule_denied',
      }),
    ];
    const [first, second] = lines.map(lineFormat(terminal, lines, () => 'a-grant-with-a-long-name'));
    expect(first).toMatch(/^TIME +EVENT +AGENT +REQUEST +RESULT\n.+ outcome +ci +GET api\.example\S+ +200$/);
    expect(second).toMatch(
      /^2026-11-21 06:00:00 {2}denied {3}ci {5}GET api\.example\S+… {2}deny 403 rule_denied$/,
    );
    expect(second?.length).toBeLessThanOrEqual(80);
  });
});
