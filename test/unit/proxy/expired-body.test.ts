import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ExpiredSign } from '../../../src/domain/provider.ts';
import { maxExpiredMs } from '../../../src/proxy/expired.ts';
import { defaultLimits } from '../../../src/proxy/policy/limits.ts';
import { parseGlob } from '../../../src/proxy/policy/text.ts';
import type { UpstreamRequest } from '../../../src/proxy/request.ts';
import { bodyOf, exchangeOf, type FakeRequest, framed, turn } from './fake-upstream.ts';

const signs: readonly ExpiredSign[] = [
  { statuses: [200], path: ['error'], header: null, values: [parseGlob('expired')] },
];
const ended = '{"error":"expired"}';
const head = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n';
const headSaid = ['head', 200, 'OK', 'Content-Type', 'application/json'];
const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;
const second: Partial<UpstreamRequest> = { path: '/', fields: ['Host', 'h', 'Authorization', 'Bearer 2'] };

/** An exchange whose provider reports an ended token in the body of a 200. */
function inspected(more: FakeRequest = {}) {
  const renew = vi.fn(async () => second);
  return { ...exchangeOf({ renew, signs, ...more }), renew };
}

describe('a body that may report an ended token', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
  afterEach(() => void vi.useRealTimers());

  it('is withheld until its end, and discarded if it does', async () => {
    const { give, said, carried, renew } = inspected();
    const connection = give();
    connection.says(head + chunk(ended));
    await turn();
    expect([said, renew.mock.calls.length]).toEqual([[], 0]);
    connection.says('0\r\n\r\n');
    await turn();
    expect(connection.released).toBe(true);
    give().says('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    expect(await carried).toMatchObject({ status: 200, bytesOut: 2, outcome: 'complete' });
    expect(said).toEqual([['head', 200, 'OK', 'Content-Length', '2'], ['write', 'ok'], ['end']]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('is not looked at after the renewal', async () => {
    const { give, said, renew } = inspected();
    give().says(`${head}${chunk(ended)}0\r\n\r\n`);
    await turn();
    give().says(head + chunk(ended.slice(0, 5)));
    expect(said).toEqual([headSaid, ['write', ended.slice(0, 5)]]);
    expect(renew).toHaveBeenCalledOnce();
  });

  it('is forwarded as it comes once its time is over', async () => {
    const { give, said, carried, renew } = inspected();
    const connection = give();
    connection.says(head + chunk('{"data":1,'));
    vi.advanceTimersByTime(maxExpiredMs - 1);
    expect(said).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(said).toEqual([headSaid, ['write', '{"data":1,']]);
    connection.says(`${chunk(ended.slice(1))}0\r\n\r\n`);
    expect(await carried).toMatchObject({ outcome: 'complete' });
    expect(said.slice(1)).toEqual([['write', `{"data":1,${ended.slice(1)}`], ['end']]);
    expect(renew).not.toHaveBeenCalled();
  });

  it('is forwarded as it comes once it is too long', () => {
    const { give, said } = inspected();
    const connection = give();
    connection.says(head + chunk(`{"data":"${'x'.repeat(8_183)}`));
    expect(said).toEqual([]);
    connection.says(chunk('x'));
    expect(said[0]).toEqual(headSaid);
    connection.says(chunk('y'));
    expect((said[1] as string[])[1]).toMatch(/xy$/);
    expect([connection.paused, vi.getTimerCount()]).toEqual([false, 0]);
  });

  it('is not withheld if it is announced as too long', () => {
    const { give, said } = inspected();
    give().says('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8193\r\n\r\n{');
    expect(said).toEqual([
      [...headSaid, 'Content-Length', '8193'],
      ['write', '{'],
    ]);
  });

  it('is forwarded at its first piece if that begins no JSON', () => {
    const { give, said } = inspected();
    give().says(head + chunk('\r\n'));
    expect(said).toEqual([headSaid, ['write', '\r\n']]);
  });

  it('ends its inspection if the client disconnects', async () => {
    const { give, carried, gone, asked, renew } = inspected();
    const connection = give();
    connection.says(head + chunk(ended));
    gone.tell();
    expect(await carried).toMatchObject({ status: 200, outcome: 'gone' });
    expect([connection.destroyed, vi.getTimerCount()]).toEqual([true, 0]);
    await turn();
    expect([asked.length, renew.mock.calls.length]).toEqual([1, 0]);
  });

  it('is reported as a failure of the upstream if its connection breaks', async () => {
    const { give, said, carried, renew } = inspected();
    const connection = give();
    connection.says(head + chunk(ended));
    connection.user.lost(new Error('reset'));
    await expect(carried).rejects.toMatchObject({ code: 'upstream_protocol' });
    expect([said, renew.mock.calls.length]).toEqual([[], 0]);
  });

  it('is forwarded and cut if its connection ends early', async () => {
    const { give, said, carried } = inspected();
    const connection = give();
    connection.says(`${head}${chunk(ended)}`);
    connection.user.ended();
    expect(await carried).toMatchObject({ outcome: 'broken' });
    expect(said).toEqual([headSaid, ['write', ended], 'abort']);
  });

  it('times out as any other body does', async () => {
    const { give, carried } = inspected();
    const connection = give();
    connection.says(head + chunk('{'));
    connection.user.expired();
    await expect(carried).rejects.toMatchObject({ code: 'upstream_timeout' });
  });

  it('is forwarded after a failed renewal', async () => {
    const { give, said, carried } = inspected({ renew: async () => null });
    give().says(`${head}${chunk(ended)}0\r\n\r\n`);
    expect(await carried).toMatchObject({ bytesOut: ended.length, outcome: 'complete' });
    expect(said).toEqual([headSaid, ['write', ended], ['end']]);
  });

  it('renews only for the next request if the request body was not kept', async () => {
    const renew = vi.fn(async () => null);
    const more = { method: 'POST', ...framed(5), body: bodyOf('hello'), renew, signs };
    const { give, said, carried } = exchangeOf(more, { ...defaultLimits, replay_bytes: 4 });
    const connection = give();
    await turn();
    connection.says(`${head}${chunk(ended)}0\r\n\r\n`);
    expect(await carried).toMatchObject({ outcome: 'complete' });
    expect(said).toContainEqual(['write', ended]);
    expect(renew).toHaveBeenCalledExactlyOnceWith(false);
  });

  it('is not withheld for a grant that has no other token', () => {
    const { give, said } = exchangeOf({ signs });
    give().says(head + chunk(ended));
    expect(said).toEqual([headSaid, ['write', ended]]);
  });
});
