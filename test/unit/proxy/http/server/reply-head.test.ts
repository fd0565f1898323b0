import { describe, expect, it } from 'vitest';
import {
  finalHead,
  interimHead,
  keptLines,
  lastLines,
  replyFraming,
  type FinalHead,
} from '../../../../../src/proxy/http/server/h1-response.ts';

function head(more: Partial<FinalHead> = {}): FinalHead {
  return { status: 200, reason: 'OK', fields: [], method: 'GET', version: '1.1', ...more };
}
const written = (more: Partial<FinalHead>, connection = '') =>
  finalHead(head(more), replyFraming(head(more)), connection);

describe('the framing of a response', () => {
  it.each<[string, Partial<FinalHead>, object]>([
    ['a length', { fields: ['content-LENGTH', '12'] }, { kind: 'length', bytes: 12 }],
    ['a length of zero', { fields: ['Content-Length', '0'] }, { kind: 'length', bytes: 0 }],
    ['no length', {}, { kind: 'chunked' }],
    ['no length, for HTTP/1.0', { version: '1.0' }, { kind: 'close' }],
    ['a HEAD', { method: 'HEAD', fields: ['Content-Length', '12'] }, { kind: 'none' }],
    ['a 204', { status: 204 }, { kind: 'none' }],
    ['a 304 with a length', { status: 304, fields: ['Content-Length', '12'] }, { kind: 'none' }],
  ])('is right for %s', (_name, more, framing) => {
    expect(replyFraming(head(more))).toEqual(framing);
  });

  it.each([
    ['twice', ['Content-Length', '5', 'content-length', '5']],
    ['as a list', ['Content-Length', '5, 5']],
    ['with a sign', ['Content-Length', '+5']],
    ['empty', ['Content-Length', '']],
  ])('is refused if a length is present %s', (_how, fields) => {
    expect(() => replyFraming(head({ fields }))).toThrow('Content-Length');
  });
});

describe('the head of a response', () => {
  it('has the given fields, followed by those of the connection', () => {
    expect(written({ fields: ['X-mIxEd', '\xe9', 'x-mixed', 'b'] }, keptLines(5_500))).toBe(
      'HTTP/1.1 200 OK\r\nX-mIxEd: \xe9\r\nx-mixed: b\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n' +
        'Transfer-Encoding: chunked\r\n\r\n',
    );
    expect(written({ status: 204, reason: '' }, lastLines)).toBe(
      'HTTP/1.1 204 \r\nConnection: close\r\n\r\n',
    );
  });

  it('announces trailers only if it can have them', () => {
    const fields = ['Trailer', 'X-Sum', 'A', '1'];
    expect(written({ fields })).toContain('Trailer: X-Sum\r\n');
    for (const more of [{ version: '1.0' }, { status: 304 }, { method: 'HEAD' }] as const) {
      expect(written({ fields, ...more })).toBe(
        `HTTP/1.1 ${'status' in more ? 304 : 200} OK\r\nA: 1\r\n\r\n`,
      );
    }
  });

  it.each([
    ['a value with CR LF', ['X', 'a\r\nSet-Cookie: b=1']],
    ['a value with a bare LF', ['X', 'a\nb']],
    ['a value with a bare CR', ['X', 'a\rb']],
    ['a value with a NUL', ['X', 'a\0b']],
    ['a value that is no byte', ['X', '\u010d\u010a']],
    ['a name with CR LF', ['X: 1\r\nY', 'a']],
    ['a name with a blank', ['X ', 'a']],
    ['no name', ['', 'a']],
  ])('is refused with %s', (_what, fields) => {
    expect(() => written({ fields })).toThrow(expect.objectContaining({ code: 'policy_violation' }));
    expect(() => interimHead(103, fields)).toThrow(expect.objectContaining({ code: 'policy_violation' }));
  });

  it('has a single-line reason phrase for any input', () => {
    expect(written({ reason: 'a\r\nX: 1\r\n\r\n\u65e5' }).split('\r\n')[0]).toBe('HTTP/1.1 200 a??X: 1?????');
  });
});

describe('the head of an interim response', () => {
  it('announces no body and no trailers', () => {
    expect(interimHead(103, ['Link', '</a>', 'Content-Length', '5', 'Trailer', 'X'])).toBe(
      'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n',
    );
    expect(interimHead(102, [])).toBe('HTTP/1.1 102 Processing\r\n\r\n');
  });

  it.each([100, 101, 104, 199])('of status %d is omitted', (status) => {
    expect(interimHead(status, [])).toBeNull();
  });
});
