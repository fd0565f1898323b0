import { describe, expect, it } from 'vitest';
import { defaultLimits } from '../../../../../src/proxy/policy/limits.ts';
import { IncomingBody } from '../../../../../src/proxy/http/server/h1-request.ts';
import { createBodyReader } from '../../../../../src/proxy/http/h1/body.ts';
import { Malformed } from '../../../../../src/proxy/http/h1/scan.ts';
import type { BodyFraming } from '../../../../../src/proxy/http/framing.ts';

const chunked: BodyFraming = { kind: 'chunked' };
const length = (bytes: number): BodyFraming => ({ kind: 'length', bytes });

function begun(plan: BodyFraming) {
  const told: string[] = [];
  const body = new IncomingBody(
    {
      bodyAwaited: (isAwaited) => told.push(isAwaited ? 'awaited' : 'no more'),
      bodyTaken: (bytes) => told.push(`taken ${bytes}`),
    },
    createBodyReader(plan, { whose: 'request', limits: defaultLimits, spans: true }),
  );
  const put = (text: string) => {
    const bytes = Buffer.from(text, 'latin1');
    const taken = body.take(bytes, 0, bytes.length);
    return taken instanceof Malformed ? taken.fault : text.slice(taken);
  };
  const next = async () => {
    const { done, value } = await body.next();
    return done === true ? null : value.toString('latin1');
  };
  return { body, told, put, next };
}

describe('the body of an incoming request', () => {
  it('is read in the received pieces, and ends at its framed end', async () => {
    const { put, next, told } = begun(length(5));
    expect(put('hel')).toBe('');
    expect(put('loGET')).toBe('GET');
    expect([await next(), await next(), await next(), await next()]).toEqual(['hel', 'lo', null, null]);
    expect(told).toEqual(['taken 3', 'taken 2']);
  });

  it('is delivered without chunk framing, in one piece if it arrived in one', async () => {
    const { put, next } = begun(chunked);
    expect(put('1\r\na\r\n2\r\nbc\r\n3\r\nd')).toBe('');
    expect(put('ef\r\n0\r\nX-Sum: 1\r\n\r\nrest')).toBe('rest');
    expect([await next(), await next(), await next()]).toEqual(['abcd', 'ef', null]);
  });

  it('is not copied if it is contiguous', async () => {
    const { body } = begun(length(3));
    const bytes = Buffer.from('abc');
    body.take(bytes, 0, 3);
    expect((await body.next()).value?.buffer).toBe(bytes.buffer);
  });

  it('notifies when a reader starts to wait, and when the wait ends', async () => {
    const { put, next, told } = begun(length(2));
    const first = next();
    expect(told).toEqual(['awaited']);
    put('a');
    expect(await first).toBe('a');
    expect(told).toEqual(['awaited', 'no more']);
    const second = next();
    put('b');
    expect([await second, await next()]).toEqual(['b', null]);
  });

  it('that ends without data notifies the waiting reader', async () => {
    const { put, next } = begun(chunked);
    put('1\r\na\r\n');
    expect(await next()).toBe('a');
    const end = next();
    put('0\r\n\r\n');
    expect(await end).toBeNull();
  });

  it.each([
    ['waits', true],
    ['asks later', false],
  ])('that is malformed reports the error to a reader that %s', async (_who, waits) => {
    const { put, next } = begun(chunked);
    const early = waits ? next() : null;
    expect(put('zz')).toBe('bad_chunk_size');
    await expect(early ?? next()).rejects.toMatchObject({ code: 'bad_request', fault: 'bad_chunk_size' });
  });

  it.each([
    ['before its end', 'ab', 3],
    ['with unread pieces', 'abc', 3],
  ])('that is released %s is never complete', async (_when, text, size) => {
    const { body, put, next } = begun(length(size));
    put(text);
    expect(await body.return()).toEqual({ done: true, value: undefined });
    expect(body.held).toBe(0);
    await expect(next()).rejects.toMatchObject({ code: 'bad_request' });
  });

  it('that is released while a reader waits does not end normally', async () => {
    const { body, next } = begun(length(3));
    const waiting = next();
    void body.return();
    await expect(waiting).rejects.toMatchObject({ code: 'bad_request' });
  });

  it('that is released is still read to its end, and not stored', () => {
    const { body, put } = begun(length(5));
    put('ab');
    expect(body.held).toBe(2);
    void body.return();
    expect(put('cdeGET')).toBe('GET');
    expect([body.over, body.held]).toEqual([true, 0]);
  });

  it('that is complete is unaffected by a connection error', async () => {
    const { body, put, next } = begun(length(2));
    put('ab');
    body.fail(new Error('the client left'));
    expect([await next(), await next()]).toEqual(['ab', null]);
  });
});
