import { describe, expect, it } from 'vitest';
import type { AuditEvent, AuditLine } from '../../../../src/domain/event.ts';
import { summaryText, unusedNote } from '../../../../src/cli/run/run-summary.ts';
import { countRequests, withTableHints } from '../../../../src/operations/run-report.ts';

const line = (event: Partial<AuditEvent>): AuditLine => ({
  v: 1,
  seq: 1,
  time: '2027-01-01T00:00:00.000Z',
  node: 'here/1',
  prev: '',
  hash: '',
  event: 'access',
  host: 'api.example.com',
  port: 443,
  ...event,
});

const told = (lines: readonly AuditLine[]) =>
  summaryText({ counts: countRequests(lines), refusals: [], failures: [], notes: [] });

describe('the summary of a run', () => {
  it('counts exchanges once, tunnelled hosts once, refusals and failures', () => {
    const lines = [
      line({ grant: 'g', exchange: '1' }),
      // The replay of the request with a refreshed token.
      line({ grant: 'g', exchange: '1' }),
      line({ event: 'outcome', grant: 'g', exchange: '1', outcome: 'ok' }),
      line({ grant: 'g', exchange: '2' }),
      line({ event: 'outcome', grant: 'g', exchange: '2', outcome: 'failed', code: 'upstream_timeout' }),
      line({ exchange: '3', host: 'a.example' }),
      line({ exchange: '4', host: 'a.example' }),
      line({ exchange: '5', host: 'b.example' }),
      line({ event: 'denied', exchange: '6', code: 'rule_denied' }),
      line({ event: 'agent.signed_in' }),
    ];
    expect(told(lines)).toBe('sidekey: 2 requests with a credential, 2 hosts tunnelled, 1 failed, 1 refused');
    expect(told(lines.slice(0, 1))).toBe('sidekey: 1 request with a credential');
    expect(told(lines.slice(5, 6))).toBe('sidekey: no request with a credential, 1 host tunnelled');
  });

  it('says that no request came through the proxy, and that the program may ignore the proxy settings', () => {
    expect(told([])).toBe('sidekey: no request came through the proxy');
  });

  it.each([
    ['/usr/bin/svn', 0, /^if svn did call a server: It reads no variables/],
    ['python3.11', 1, /urllib3 by itself, tornado and treq bypass the proxy/],
    ['NODE.EXE'.toLowerCase(), 0, /^if node did call .*ws and superagent bypass the proxy/],
    ['./agent', 1, /^if agent did call a server, it ignores HTTPS_PROXY.*docs\/clients\.md/],
    ['ruby', null, /^if ruby did call a server, it ignores HTTPS_PROXY/],
    ['ruby', 0, null],
    ['ls', 0, null],
  ] as const)('names why the requests of %s (exit code %s) may not be seen', (program, code, note) => {
    const text = unusedNote({ program, code, isConfined: false });
    expect(unusedNote({ program, code, isConfined: true })).toBe(code === 0 ? null : text);
    if (note === null) expect(text).toBeNull();
    else expect(text).toMatch(note);
  });

  it('names each kind of failure once, with the hint of its code', () => {
    const failed = { event: 'outcome', outcome: 'failed' } as const;
    const { failures } = countRequests([
      line({ ...failed, code: 'upstream_tls' }),
      line({ ...failed, code: 'upstream_tls', path: '/other' }),
      line({ ...failed, event: 'tunnel', code: 'upstream_unreachable', host: 'a.example' }),
    ]);
    expect(withTableHints(failures)).toMatchObject([
      { host: 'api.example.com', code: 'upstream_tls', count: 2, hint: 'tell the operator of the upstream' },
      {
        host: 'a.example',
        code: 'upstream_unreachable',
        count: 1,
        hint: 'check the host name and the network',
      },
    ]);
  });

  it('lists each refusal once, at most five, with the command that allows it', () => {
    const { refusals } = countRequests([
      line({ event: 'denied', code: 'rule_denied' }),
      line({ event: 'denied', code: 'rule_denied', path: '/other' }),
      line({ event: 'denied', code: 'domain_not_allowed', port: 8443 }),
    ]);
    expect(refusals.map(({ line: { code }, count }) => [code, count])).toEqual([
      ['rule_denied', 2],
      ['domain_not_allowed', 1],
    ]);
    const refusal = { host: 'a.example', port: 443, code: 'rule_denied', count: 1, hint: 'change it' };
    const other = { ...refusal, port: 8443, count: 3, hint: null };
    const text = (count: number) =>
      summaryText({
        counts: null,
        refusals: Array.from({ length: count }, () => refusal),
        failures: [],
        notes: [],
      }).split('\n');
    expect(summaryText({ counts: null, refusals: [refusal], failures: [other], notes: ['word'] })).toBe(
      '  a.example rule_denied → change it\n  a.example:8443 rule_denied (3 times)\nsidekey: word',
    );
    expect(text(5)).toHaveLength(5);
    expect(text(7).at(-1)).toBe('  and 2 more: sidekey audit query --event denied');
  });
});
