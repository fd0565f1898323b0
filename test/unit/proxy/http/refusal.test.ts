import { describe, expect, it, vi } from 'vitest';
import { createGone, type Reply } from '../../../../src/proxy/http/message.ts';
import { refusalBytes, refusalOf, refuse } from '../../../../src/proxy/http/problem.ts';
import { SidekeyError } from '../../../../src/lib/errors.ts';
import { type FailureCode, failures } from '../../../../src/lib/failures.ts';

const blocked = new SidekeyError('address_blocked', 'Not "there".', {
  hint: 'list it',
  cause: new Error('secret'),
});

function replyOf(started = false) {
  return {
    started,
    gone: createGone(),
    hold: createGone,
    expectsContinue: false,
    continue: vi.fn<Reply['continue']>(),
    informational: vi.fn<Reply['informational']>(),
    closeAfter: vi.fn<Reply['closeAfter']>(),
    head: vi.fn<Reply['head']>(),
    write: vi.fn<Reply['write']>(() => true),
    onDrain: vi.fn<Reply['onDrain']>(),
    end: vi.fn<Reply['end']>(),
    abort: vi.fn<Reply['abort']>(),
  } satisfies Reply;
}

/** Returns how many times a refusal ends the connection. */
function ended(error: SidekeyError): number {
  const reply = replyOf();
  refuse(reply, error, 'GET');
  return reply.closeAfter.mock.calls.length;
}

describe('a refusal', () => {
  it('is a problem document with the code in the body, a field and the reason phrase', () => {
    const { status, reason, fields, body } = refusalOf(blocked);
    expect([status, reason]).toEqual([403, 'address_blocked']);
    expect(JSON.parse(body.toString())).toEqual({
      title: 'Address blocked',
      status: 403,
      code: 'address_blocked',
      detail: 'Not "there".',
      hint: 'list it',
    });
    expect(fields).toEqual([
      'Content-Type',
      'application/problem+json',
      'Content-Length',
      String(body.length),
      'Cache-Control',
      'no-store',
      'Sidekey-Error',
      'address_blocked',
    ]);
  });

  it('has the status of its code', () => {
    for (const code of Object.keys(failures) as FailureCode[]) {
      const { status, reason } = refusalOf(new SidekeyError(code, 'No.'));
      expect({ code, status, reason }).toEqual({ code, status: failures[code].status, reason: code });
    }
  });

  it('contains a Proxy-Authenticate challenge if no agent is authenticated', () => {
    expect(refusalOf(new SidekeyError('agent_auth_required', 'Who?')).fields.slice(-2)).toEqual([
      'Proxy-Authenticate',
      'Basic realm="Sidekey", charset="UTF-8"',
    ]);
  });

  it.each([
    [0, '1'],
    [1, '1'],
    [1_000, '1'],
    [1_001, '2'],
    [86_400_000, '86400'],
  ])('with a wait of %i ms has a Retry-After in whole seconds, rounded up', (retryAfterMs, seconds) => {
    const later = new SidekeyError('rate_limited', 'Later.', { retryAfterMs });
    expect(refusalOf(later).fields.slice(-2)).toEqual(['Retry-After', seconds]);
    expect(refusalBytes(later).toString()).toContain(`\r\nRetry-After: ${seconds}\r\n`);
  });

  it('contains no details of an unexpected error', () => {
    for (const fault of [new Error('the token is abc'), 'abc', undefined]) {
      const { status, reason, body } = refusalOf(fault);
      expect([status, reason]).toEqual([500, 'internal']);
      expect(body.toString()).not.toContain('abc');
    }
  });

  it('is written as a whole response', () => {
    const reply = replyOf();
    expect(refuse(reply, blocked, 'GET')).toBe(403);
    const { status, reason, fields, body } = refusalOf(blocked);
    expect(reply.head).toHaveBeenCalledExactlyOnceWith(status, reason, fields);
    expect(reply.write).toHaveBeenCalledExactlyOnceWith(body);
    expect(reply.end).toHaveBeenCalledExactlyOnceWith([]);
  });

  it('closes the connection after a malformed message, and only then', () => {
    expect(ended(new SidekeyError('bad_request', 'Two lengths.'))).toBe(1);
    expect(ended(blocked)).toBe(0);
  });

  it('has no body for HEAD', () => {
    const reply = replyOf();
    refuse(reply, blocked, 'HEAD');
    expect(reply.write).not.toHaveBeenCalled();
    expect(reply.end).toHaveBeenCalledOnce();
  });

  it('after the start of a response cuts the connection, so the response is incomplete', () => {
    const reply = replyOf(true);
    expect(refuse(reply, blocked, 'GET')).toBe(403);
    expect(reply.abort).toHaveBeenCalledOnce();
    expect(reply.head).not.toHaveBeenCalled();
    expect(reply.write).not.toHaveBeenCalled();
  });

  it('is serialized with Connection: close for a raw socket', () => {
    const text = refusalBytes(blocked).toString();
    const [head = '', body = ''] = text.split('\r\n\r\n');
    expect(head.split('\r\n')).toEqual([
      'HTTP/1.1 403 address_blocked',
      'Content-Type: application/problem+json',
      `Content-Length: ${body.length}`,
      'Cache-Control: no-store',
      'Sidekey-Error: address_blocked',
      'Connection: close',
    ]);
    expect(JSON.parse(body)).toMatchObject({ code: 'address_blocked' });
  });

  it('removes line breaks of a message from its head', () => {
    const text = refusalBytes(new SidekeyError('bad_request', 'a\r\nSet-Cookie: x=y\r\n\r\nb')).toString();
    expect(text.split('\r\n\r\n')).toHaveLength(2);
    expect(text).not.toMatch(/^Set-Cookie/m);
  });
});
