import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { createClient, SidekeyError } from '../../../src/sdk/client/client.ts';

const problem = (status: number, headers: Readonly<Record<string, string>> = {}, code = 'x') =>
  Response.json({ code, detail: 'No.', hint: 'do this' }, { status, headers });

/** A client whose service gives these answers, one after the other; an error: the connection is lost. */
function answering(...answers: readonly (Response | Error)[]) {
  const rest = [...answers];
  const fetch = vi.fn(async (_url: string, _init: RequestInit): Promise<Response> => {
    const next = rest.shift() ?? new Error('no answer left');
    if (next instanceof Error) throw next;
    return next;
  });
  const client = createClient({
    apiKey: 'sk_secret',
    baseUrl: 'http://127.0.0.1:1/',
    fetch: fetch as unknown as typeof globalThis.fetch,
  });
  const sent = () => fetch.mock.calls.map(([url, init]) => ({ url, ...init }));
  return { client, sent };
}

const lost = new TypeError('fetch failed');
const now = { 'retry-after': '0' };

describe('a request', () => {
  it('puts the parts of the input into path, query and body', async () => {
    const { client, sent } = answering(Response.json({}), Response.json({}));
    await client.changeGrant({ grant: 'a/b', user: 'alice', labels: ['x'] });
    await client.getMe();
    expect(sent()).toMatchObject([
      {
        url: 'http://127.0.0.1:1/v2/grants/a%2Fb?user=alice',
        method: 'PATCH',
        body: '{"labels":["x"]}',
        redirect: 'error',
      },
      { url: 'http://127.0.0.1:1/v2/me', method: 'GET' },
    ]);
  });

  it.each([undefined, null, '', '.', '..', 7])(
    'with the path parameter %j is refused, not sent',
    async (grant) => {
      const { client, sent } = answering();
      await expect(client.getGrant({ grant } as never)).rejects.toMatchObject({
        code: 'input_invalid',
        message: `getGrant: grant is ${JSON.stringify(grant)}, which names nothing.`,
        hint: 'give grant as a text',
      });
      expect(sent()).toEqual([]);
    },
  );

  it('is repeated with the same idempotency key after 429, 503 and a lost connection', async () => {
    const { client, sent } = answering(
      problem(503, now),
      problem(429, now),
      problem(503, now),
      Response.json({}),
    );
    await client.createAgent({ name: 'ci' });
    const keys = sent().map(({ headers }) => (headers as Record<string, string>)['idempotency-key']);
    expect(keys).toHaveLength(4);
    expect(new Set(keys).size).toBe(1);
    expect(keys[0]).toMatch(/^[0-9a-f-]{36}$/);
    const reading = answering(lost, Response.json({}));
    await reading.client.getMe();
    expect(reading.sent()).toHaveLength(2);
  });

  it('fails with a code if its answer is not from Sidekey, or breaks off', async () => {
    const body = new ReadableStream({ pull: (controller) => controller.error(new TypeError('terminated')) });
    const answers = [new Response('<html>'), new Response('<html>'), new Response(body)] as const;
    const { client } = answering(...answers);
    await expect(client.getMe()).rejects.toMatchObject({ code: 'unexpected_answer', status: 200 });
    await expect(client.listAgents().next()).rejects.toMatchObject({ code: 'unexpected_answer' });
    await expect(client.getMe()).rejects.toMatchObject({ code: 'unreachable' });
  });

  it('is not repeated if the repetition could perform the operation twice', async () => {
    for (const answer of [lost, problem(503, now)]) {
      const { client, sent } = answering(answer);
      await expect(client.removeDomain({ host: 'x.example' })).rejects.toThrow(SidekeyError);
      await expect(client.request('POST', 'https://x.example/')).rejects.toThrow(SidekeyError);
      expect(sent()).toHaveLength(2);
    }
  });

  it('fails after the last attempt, and immediately if the wait would be long or the request is refused', async () => {
    const weary = answering(...Array.from({ length: 9 }, () => problem(503, now)));
    await expect(weary.client.getMe()).rejects.toMatchObject({ status: 503 });
    expect(weary.sent()).toHaveLength(4);
    for (const answer of [problem(429, { 'retry-after': '60' }), problem(403), problem(500)]) {
      const { client, sent } = answering(answer);
      await expect(client.getMe()).rejects.toThrow('No.');
      expect(sent()).toHaveLength(1);
    }
  });

  it('waits for its first attempt if the service is still processing that attempt', async () => {
    const { client, sent } = answering(lost, problem(409, now, 'idempotency_conflict'), Response.json({}));
    await client.createAgent({ name: 'ci' });
    expect(sent()).toHaveLength(3);
    const other = answering(problem(409, now, 'idempotency_conflict'));
    await expect(other.client.createAgent({ name: 'ci' })).rejects.toMatchObject({ status: 409 });
  });

  it('is aborted by its signal', async () => {
    const stop = new AbortController();
    const fetch = vi.fn(async () => {
      setImmediate(() => stop.abort(new Error('enough')));
      return problem(503, { 'retry-after': '20' });
    });
    const client = createClient({ apiKey: 'k', fetch });
    await expect(client.getMe({}, { signal: stop.signal })).rejects.toThrow('enough');
    expect(fetch).toHaveBeenCalledTimes(1);
  });
});

const signalOf = (init: RequestInit | undefined) => init?.signal as AbortSignal;

describe('a timeout', () => {
  it('counts over all attempts until the head, and not for the body', async () => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    const signals: AbortSignal[] = [];
    const silent = (_url: unknown, init?: RequestInit) => {
      signals.push(signalOf(init));
      if (signals.length === 1) return Promise.resolve(problem(503, { 'retry-after': '1' }));
      return new Promise<never>((_resolve, reject) => {
        signalOf(init).addEventListener('abort', () => reject(new Error('aborted')));
      });
    };
    for (const [given, ms] of [
      [{}, 300_000],
      [{ timeoutMs: 5_000 }, 5_000],
    ] as const) {
      signals.length = 0;
      const client = createClient({ apiKey: 'k', fetch: silent });
      const call = client.getMe({}, given).catch((error: unknown) => error);
      await vi.advanceTimersByTimeAsync(ms - 1);
      expect([signals.length, signals.at(-1)?.aborted]).toEqual([2, false]);
      await vi.advanceTimersByTimeAsync(1);
      expect(await call).toMatchObject({
        name: 'TimeoutError',
        code: 'timeout',
        status: 0,
        message: `http://127.0.0.1:8378 did not answer within ${ms} ms.`,
      });
    }
    for (const timeoutMs of [5_000, Infinity]) {
      const answering = vi.fn(async (_url: unknown, _init?: RequestInit) => Response.json({ name: 'me' }));
      const client = createClient({ apiKey: 'k', fetch: answering, timeoutMs });
      expect(await client.getMe()).toEqual({ name: 'me' });
      await vi.advanceTimersByTimeAsync(10_000);
      expect(signalOf(answering.mock.lastCall?.[1]).aborted).toBe(false);
    }
  });
});

describe('a failure', () => {
  it('has the code, the hint and the retry time of the service', async () => {
    const { client } = answering(problem(429, { 'retry-after': '60' }, 'rate_limited'));
    await expect(client.getMe()).rejects.toMatchObject({
      name: 'RateLimitedError',
      message: 'No.',
      code: 'rate_limited',
      status: 429,
      hint: 'do this',
      retryAfter: 60,
    });
  });

  it('has the HTTP status when the response is not a problem document', async () => {
    const { client } = answering(new Response('<html>', { status: 404 }));
    await expect(client.getMe()).rejects.toMatchObject({ code: 'unexpected_answer', status: 404 });
  });

  it('never contains the API key', async () => {
    for (const answer of [lost, problem(403)]) {
      const { client } = answering(answer, answer, answer, answer);
      const failure = (await client.removeDomain({ host: 'x' }).catch((error: unknown) => error)) as Error;
      expect(`${failure.stack} ${JSON.stringify(failure)} ${JSON.stringify(client)}`).not.toContain(
        'sk_secret',
      );
    }
  });
});

describe('a client', () => {
  it('is refused without a valid key or address, and for another machine without TLS', () => {
    expect(() => createClient({ apiKey: '' })).toThrow('no API key');
    for (const baseUrl of ['http://sidekey.example.com', 'http://10.0.0.1', 'http://127.0.0.1.example.com']) {
      expect(() => createClient({ apiKey: 'k', baseUrl })).toThrow('in the clear');
      expect(() => createClient({ apiKey: 'k', baseUrl, allowPlainHttp: true })).not.toThrow();
    }
    const withSecret = [
      'http://alice:secret@127.0.0.1',
      'http://127.0.0.1/?secret',
      'http://127.0.0.1/#secret',
    ];
    for (const baseUrl of ['127.0.0.1:8378', 'localhost:8378', 'ftp://127.0.0.1', 'http://', ...withSecret])
      expect(() => createClient({ apiKey: 'k', baseUrl })).toThrow(/^(?!.*secret).*not an http or https URL/);
    for (const apiKey of ['secret\n', 'secret one', 'secret’'])
      expect(() => createClient({ apiKey })).toThrow(/^(?!.*secret)The API key contains a space/);
    for (const baseUrl of ['https://sidekey.example.com', 'http://localhost:8378', 'http://[::1]:8378'])
      expect(() => createClient({ apiKey: 'k', baseUrl })).not.toThrow();
  });
});
