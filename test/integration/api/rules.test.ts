import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { createIdempotency } from '../../../src/api/idempotency.ts';
import type { SidekeyError } from '../../../src/lib/errors.ts';
import { proposal } from '../../support/question.ts';
import { agentRecord, leaseRecord } from '../../support/rights.ts';
import { startService } from '../../support/service.ts';

const agent = (name: string) => ({ body: { name } });

describe('Idempotency-Key', () => {
  it('repeats the first response, including its secret, and does the work once', async () => {
    const { call } = await startService();
    const request = { ...agent('ci'), headers: { 'idempotency-key': 'k1' } };
    const first = await call('POST /v2/agents', request);
    const second = await call('POST /v2/agents', request);
    expect(first.status).toBe(201);
    expect(second.body).toEqual(first.body);
    expect(second.headers.get('idempotency-replayed')).toBe('true');
    expect((await call('GET /v2/agents')).body.data).toHaveLength(1);
  });

  it('is refused for a different request, and is separate for each caller', async () => {
    const { call, key } = await startService();
    const headers = { 'idempotency-key': 'k1' };
    await call('POST /v2/agents', { ...agent('a'), headers });
    expect((await call('POST /v2/agents', { ...agent('b'), headers })).body.code).toBe(
      'idempotency_conflict',
    );
    expect((await call('POST /v2/agents', { ...agent('b'), headers, key: await key() })).status).toBe(201);
  });

  it('does not store error responses', async () => {
    const { call } = await startService();
    const headers = { 'idempotency-key': 'k1' };
    const order = { body: { agent: 'ci', grants: ['x'], purpose: 'p' }, headers };
    expect((await call('POST /v2/leases', order)).status).toBe(404);
    await call('POST /v2/agents', agent('ci'));
    expect((await call('POST /v2/leases', order)).body.code).toBe('grant_missing');
  });

  it('can be used again an hour after a process ended during the work', async () => {
    const clock = { now: Date.now() };
    const { sidekey } = await startService();
    const idempotency = createIdempotency({ ...sidekey.proxy.state, now: () => clock.now });
    const request = { key: 'k', caller: { id: 'key ci 1' }, target: '/v2/agents', bytes: Buffer.from('{}') };
    void idempotency.once(request, () => new Promise(() => {}));
    const again = () => idempotency.once(request, async () => Response.json({ done: true }));
    await expect.poll(() => again().catch(({ code }: SidekeyError) => code)).toBe('idempotency_conflict');
    clock.now += 3_600_001;
    expect(await (await again()).json()).toEqual({ done: true });
    clock.now += 86_399_000;
    expect((await again()).headers.get('idempotency-replayed')).toBe('true');
  });

  it('does the work only once for two simultaneous requests', async () => {
    const { call } = await startService();
    const request = { ...agent('ci'), headers: { 'idempotency-key': 'k1' } };
    const answers = await Promise.all([1, 2, 3].map(() => call('POST /v2/agents', request)));
    expect(answers.filter(({ status }) => status === 201).length).toBeGreaterThan(0);
    for (const { status, body } of answers) {
      if (status !== 201) expect(body.code).toBe('idempotency_conflict');
    }
    expect((await call('GET /v2/agents')).body.data).toHaveLength(1);
  });
});

describe('If-Match', () => {
  it('refuses a change to a resource that changed since, and accepts the change with the new tag', async () => {
    const { call, sidekey } = await startService();
    await sidekey.grant(['api.example.com'], { name: 'desk' });
    const tag = async () => (await call('GET /v2/grants/desk')).headers.get('etag') ?? '';
    const before = await tag();
    expect((await call('PATCH /v2/grants/desk', { body: { labels: ['a'] } })).status).toBe(200);
    const late = { body: { labels: ['b'] }, headers: { 'if-match': before } };
    expect((await call('PATCH /v2/grants/desk', late)).body.code).toBe('precondition_failed');
    const fresh = { body: { labels: ['b'] }, headers: { 'if-match': await tag() } };
    expect((await call('PATCH /v2/grants/desk', fresh)).status).toBe(200);
  });

  it('accepts only one of two concurrent changes', async () => {
    const { call, sidekey } = await startService();
    await sidekey.grant(['api.example.com'], { name: 'desk' });
    const tag = (await call('GET /v2/grants/desk')).headers.get('etag') ?? '';
    const answers = await Promise.all(
      ['a', 'b'].map((label) =>
        call('PATCH /v2/grants/desk', { body: { labels: [label] }, headers: { 'if-match': tag } }),
      ),
    );
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 412]);
  });

  it('is required to replace the config, and protects an edit of the file in between', async () => {
    const { call } = await startService();
    const { body, headers } = await call('GET /v2/config');
    expect((await call('PUT /v2/config', { body: { text: body.text } })).body.code).toBe(
      'precondition_required',
    );
    const wrong = { body: { text: 'version: 9\n' }, headers: { 'if-match': headers.get('etag') ?? '' } };
    expect((await call('PUT /v2/config', wrong)).body.code).toBe('config_invalid');
    expect((await call('GET /v2/config')).body.text).toBe(body.text);
  });

  it('has the counterpart If-None-Match, which returns 304 for an unchanged resource', async () => {
    const { call } = await startService();
    const tag = (await call('GET /v2/agents')).headers.get('etag') ?? '';
    expect((await call('GET /v2/agents', { headers: { 'if-none-match': tag } })).status).toBe(304);
  });
});

describe('a list', () => {
  it('has pages without repetition, even when an entry is removed in between', async () => {
    const { call } = await startService();
    for (const name of ['a', 'b', 'c', 'd', 'e']) await call('POST /v2/agents', agent(name));
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const query: string = cursor === null ? '' : `&cursor=${cursor}`;
      const { body } = await call(`GET /v2/agents?limit=2${query}`);
      seen.push(...body.data.map(({ name }: { name: string }) => name));
      if (cursor === null) await call('DELETE /v2/agents/a');
      cursor = body.next_cursor;
    } while (cursor !== null);
    expect(seen).toEqual(['a', 'b', 'c', 'd', 'e']);
  });

  it.each([
    ['grants', ['alice', 'bob', 'bob', 'carol', 'alice']],
    ['grants?user=bob', ['bob', 'bob']],
    ['leases', ['p2', 'p3', 'p0', 'p1']],
    ['leases?agent=b', ['p3', 'p1']],
    ['leases?all=true', ['p2', 'p4', 'p3', 'p0', 'p1']],
    ['proposals', ['q0', 'q1', 'q2']],
  ])('of %s is read from the store in pages, in order', async (path, expected) => {
    const { call, sidekey } = await startService();
    const { store, grants } = sidekey.proxy.state;
    const sealed = {
      credential: { type: 'api_key', value: 'key-0123456789' },
      audience: ['a.test'],
    } as const;
    for (const [name, user] of [
      ['a', 'alice'],
      ['b', 'carol'],
      ['a', 'bob'],
      ['aa', 'bob'],
      ['c', 'alice'],
    ] as const)
      await grants.add({ name, user, provider: 'acme', scopes: [] }, sealed);
    for (const agent of ['a', 'b']) await store.agents.insert(agentRecord({ name: agent }));
    const at = Date.now();
    for (const [index, end] of [3, 4, 1, 2, 1].entries()) {
      const lease = leaseRecord({
        id: `0000000${index}-0000-4000-8000-000000000000`,
        agent: index % 2 === 0 ? 'a' : 'b',
        purpose: `p${index}`,
        expiresAt: at + end * 3_600_000,
      });
      await store.leases.insert(lease);
      if (index === 4) await store.leases.revoke({ id: lease.id }, at);
      if (index < 3) {
        const change = { kind: 'domain', host: `h${index}.test`, grant: null } as const;
        const reason = `q${index}`;
        await store.proposals.propose(proposal({ agent: 'a', change, reason, askedAt: at + index }), 20);
      }
    }
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const query: string = `${path.includes('?') ? '&' : '?'}limit=1${cursor === null ? '' : `&cursor=${cursor}`}`;
      const { status, body } = await call(`GET /v2/${path}${query}`);
      expect([status, body.data.length]).toEqual([200, 1]);
      const [entry] = body.data as Record<string, string>[];
      seen.push(entry!['user'] ?? entry!['purpose'] ?? entry!['reason']!);
      cursor = body.next_cursor;
    } while (cursor !== null);
    expect(seen).toEqual(expected);
    const whole = await call(`GET /v2/${path}`);
    expect(whole.body.data).toHaveLength(expected.length);
  });

  it('refuses an invalid cursor, and a limit out of bounds', async () => {
    const { call } = await startService();
    for (const query of ['cursor=x', 'limit=0', 'limit=201', 'limit=x', 'color=red']) {
      expect((await call(`GET /v2/agents?${query}`)).body.code, query).toBe('input_invalid');
    }
  });
});

describe('an error of the API', () => {
  it('names the invalid member without its value', async () => {
    const { call } = await startService();
    const { status, body, headers } = await call('POST /v2/agents', {
      body: { name: 'bad name', secret: 'x' },
    });
    expect(status).toBe(400);
    expect(headers.get('content-type')).toBe('application/problem+json');
    expect(body.detail).toMatch(/^body\.name: /);
    expect(JSON.stringify(body)).not.toContain('bad name');
  });

  it('names the allowed methods if a path has no route for the method', async () => {
    const { call } = await startService();
    const { body, headers } = await call('PUT /v2/grants');
    expect(body).toMatchObject({ code: 'method_not_allowed', hint: 'its methods: GET, POST' });
    expect(headers.get('allow')).toBe('GET, POST');
    expect((await call('GET /v3/grants')).body.code).toBe('not_found');
    expect((await call('POST /v2/agents', { body: 'x'.repeat(1_048_577) })).body.code).toBe('body_too_large');
  });
});

describe('an error in a request', () => {
  it('has a 4xx status for an unknown provider and an invalid config', async () => {
    const { call } = await startService();
    const cases = [
      ['GET /v2/providers/none', undefined, 404],
      ['POST /v2/config/check', { text: '' }, 422],
      ['POST /v2/config/test', { cases: '' }, 422],
      ['POST /v2/connect-sessions', { provider: 'github', user: 'alice' }, 422],
    ] as const;
    for (const [request, body, status] of cases) {
      const answer = await call(request, body === undefined ? {} : { body });
      expect([answer.status, answer.body.status], request).toEqual([status, status]);
    }
  });

  it('returns a problem document even for malformed HTTP or a header section that is too large', async () => {
    const { url } = await startService();
    const { port } = new URL(url);
    for (const [head, sentence] of [
      [
        `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nX: ${'x'.repeat(1_100_000)}\r\n\r\n`,
        'larger than 1 MiB',
      ],
      ['\0\r\n\r\n', 'not well-formed HTTP'],
    ] as const) {
      const socket = connect(Number(port), '127.0.0.1');
      socket.write(head);
      const answer = await text(socket);
      expect(answer).toMatch(/^HTTP\/1\.1 400 /);
      expect(answer).toContain('application/problem+json');
      expect(answer).toContain(sentence);
    }
  });
});

describe('the stream of the audit log', () => {
  it('sends the last lines and new lines that match the filters', async () => {
    const { call, url, key } = await startService();
    await call('POST /v2/agents', agent('before'));
    const stop = new AbortController();
    const response = await fetch(`${url}/v2/audit/stream?event=agent.added&lines=50`, {
      headers: { 'x-api-key': await key() },
      signal: stop.signal,
    });
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    let text = '';
    const reader = response.body!.getReader();
    const until = async (part: string) => {
      while (!text.includes(part)) text += new TextDecoder().decode((await reader.read()).value);
    };
    await until('"agent":"before"');
    await call('POST /v2/agents', agent('after'));
    await until('"agent":"after"');
    expect(text).not.toContain('proxy.started');
    expect(text).toMatch(/^id: .+:\d+$/m);
    stop.abort();
  });

  it('contains only the lines of the user if the key is for one user', async () => {
    const { call, url, key } = await startService();
    for (const user of ['bob', 'alice']) {
      const token_data = { api_key: 'ghp_0123456789abcdef0123456789abcdef0123' };
      const body = { integration_key: 'gh', provider: 'github', token_type: 'api_key', token_data };
      await call(`POST /v2/users/${user}/tokens`, { body });
    }
    const headers = { 'x-api-key': await key({ role: 'user', user: 'alice' }) };
    const response = await fetch(`${url}/v2/audit/stream?lines=50`, { headers });
    let text = '';
    const reader = response.body!.getReader();
    while (!text.includes('grant.added')) text += new TextDecoder().decode((await reader.read()).value);
    await reader.cancel();
    expect(text).toContain('"user":"alice"');
    expect(text).not.toContain('bob');
    expect((await fetch(`${url}/v2/audit/stream?user=bob`, { headers })).status).toBe(404);
  });
});

describe('PATCH /v2/grants/{grant}', () => {
  it.each([
    [{ 'a b': 'x' }, 'body.metadata.a b: is not valid: use 1 to 64 letters'],
    [{ a: 'x'.repeat(257) }, 'body.metadata.a: is longer than 256 characters.'],
    [{ a: 'x\ny' }, 'body.metadata.a: has control characters.'],
  ])('explains what is wrong with the metadata %j', async (metadata, words) => {
    const { call } = await startService();
    const { status, body } = await call('PATCH /v2/grants/github', { body: { metadata } });
    expect([status, body.detail]).toEqual([400, expect.stringContaining(words)]);
  });
});

describe('POST /v2/explain', () => {
  it.each([
    ['method', { method: 'G'.repeat(33) }, 'body.method: '],
    ['url', { url: 'a'.repeat(2_049) }, 'body.url: is longer than 2048 characters'],
    ['headers', { headers: ['a: '.padEnd(2_049)] }, 'body.headers.0: is longer than 2048 characters'],
    ['bytes', { bytes: [1] }, 'body: '],
  ])('refuses a request whose %s only a person at the machine may write', async (_name, part, words) => {
    const { call } = await startService();
    const { status, body } = await call('POST /v2/explain', { body: { url: 'https://a.test', ...part } });
    expect([status, body.code]).toEqual([400, 'input_invalid']);
    expect(body.detail).toContain(words);
  });

  it.each([
    ['a missing member', {}, 'body.url is missing.'],
    ['a misspelt member', { ulr: 'https://a.test' }, 'body: Unrecognized key: "ulr".'],
  ])('names %s', async (_what, body, detail) => {
    const { call } = await startService();
    expect((await call('POST /v2/explain', { body })).body).toMatchObject({ detail });
  });

  it('names a member of the input, and no option of the command line', async () => {
    const { call } = await startService();
    const { status, body } = await call('POST /v2/explain', {
      body: { url: 'https://a.test', client: 'no' },
    });
    expect([status, body.code]).toEqual([400, 'input_invalid']);
    expect(body.detail).toContain('client is not an IP address');
    expect(JSON.stringify(body)).not.toContain('--');
  });
});
