/**
 * Rules of a domain, in the running proxy: what is let through, what is refused, and what upstream sees of
 * either.
 */
import { describe, expect, test } from 'vitest';
import { openTunnel } from '../../support/raw-client.ts';
import { bearerToken, startSidekey } from '../../support/sidekey.ts';
import { startUpstream } from '../../support/upstream.ts';

async function ruled(domain: object, answer: string | Buffer = 'ok') {
  const seen: string[] = [];
  const upstream = await startUpstream((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      const { authorization = 'none' } = request.headers;
      seen.push(
        `${request.method} ${request.url} ${authorization.replace(bearerToken, 'TOKEN')} ${body}`.trim(),
      );
      response.end(answer);
    });
  });
  const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme', ...domain } } });
  await sidekey.grant([upstream.authority]);
  const send = async (request: string, fields = '', body = '') => {
    const client = await openTunnel(sidekey, upstream.authority);
    const length = body === '' ? '' : `Content-Length: ${Buffer.byteLength(body)}\r\n`;
    client.send(`${request} HTTP/1.1\r\nHost: ${upstream.authority}\r\n${fields}${length}\r\n${body}`);
    return client.response();
  };
  return { seen, send, sidekey };
}

describe('rules', () => {
  test('allow matching requests, and refuse others before they are forwarded', async () => {
    const { seen, send } = await ruled({ rules: [{ methods: ['GET'], paths: ['/repos/**'] }] });
    expect((await send('GET /repos/a/b?x=1')).status).toBe(200);
    for (const request of ['POST /repos/a', 'GET /user', 'GET /repos/..%2fuser', 'GET /repos/../user']) {
      const refused = await send(request, request.startsWith('POST') ? 'Content-Length: 0\r\n' : '');
      expect(refused.status).toBe(403);
      expect(['rule_denied', 'policy_violation']).toContain(refused.headers['sidekey-error']);
    }
    expect(seen).toEqual(['GET /repos/a/b?x=1 Bearer TOKEN']);
  });

  test('refuse a request with a method override in a header or its query', async () => {
    const { seen, send } = await ruled({ rules: [{ methods: ['POST'] }] });
    const empty = 'Content-Length: 0\r\n';
    for (const field of ['X-HTTP-Method-Override', 'x-http-method', 'X_Method_Override']) {
      const refused = await send('POST /x', `${empty}${field}: DELETE\r\n`);
      expect([refused.status, refused.headers['sidekey-error']]).toEqual([403, 'policy_violation']);
      expect(refused.body).toContain(`without the header ${field}`);
    }
    const inQuery = await send('POST /x?_method=DELETE', empty);
    expect(inQuery.headers['sidekey-error']).toBe('policy_violation');
    expect((await send('POST /x', empty)).status).toBe(200);
    expect(seen).toEqual(['POST /x Bearer TOKEN']);
  });

  test('that tunnel forward a request without the credential', async () => {
    const { seen, send } = await ruled({
      default: 'allow',
      rules: [{ paths: ['/public/**'], outcome: 'tunnel' }],
    });
    await send('GET /public/a');
    await send('GET /private');
    expect(seen).toEqual(['GET /public/a none', 'GET /private Bearer TOKEN']);
  });

  test('that limit the rate answer 429 with Retry-After', async () => {
    const { seen, send } = await ruled({
      default: 'allow',
      rules: [{ methods: ['GET'], limits: [{ rate: '2/1h', per: 'rule' }] }],
    });
    expect([(await send('GET /1')).status, (await send('GET /2')).status]).toEqual([200, 200]);
    const refused = await send('GET /3');
    expect(refused.status).toBe(429);
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
    expect(refused.body).toMatch(/or raise the limit of domains\S+rules\S+ \(\S*sidekey\.yaml:\d+\)/);
    expect(seen).toHaveLength(2);
  });

  test('with a limit count requests without a credential too', async () => {
    const { seen, send } = await ruled({
      default: 'allow',
      rules: [{ paths: ['/public'], outcome: 'tunnel', limits: [{ rate: '1/1h', per: 'rule' }] }],
    });
    expect((await send('GET /public')).status).toBe(200);
    expect((await send('GET /public')).status).toBe(429);
    expect(seen).toEqual(['GET /public none']);
  });

  test('evaluate the operation of a GraphQL body, which is forwarded unchanged', async () => {
    const { seen, send } = await ruled({
      rules: [{ methods: ['POST'], paths: ['/graphql'], graphql: { types: ['query'] } }],
    });
    const json = 'Content-Type: application/json\r\n';
    const query = JSON.stringify({ query: '{ viewer { login } }' });
    expect((await send('POST /graphql', json, query)).status).toBe(200);
    const mutation = JSON.stringify({ query: 'mutation { deleteAll }' });
    expect((await send('POST /graphql', json, mutation)).headers['sidekey-error']).toBe('rule_denied');
    const large = JSON.stringify({ query: '{ a }', pad: 'x'.repeat(100_000) });
    expect((await send('POST /graphql', json, large)).headers['sidekey-error']).toBe('rule_denied');
    expect(seen).toEqual([`POST /graphql Bearer TOKEN ${query}`]);
  });

  test('that limit the response size refuse a response that announces a larger size', async () => {
    const { send } = await ruled(
      { default: 'allow', rules: [{ methods: ['GET'], max_response: 10 }] },
      'x'.repeat(11),
    );
    expect((await send('GET /large')).headers['sidekey-error']).toBe('rule_denied');
  });

  test('in report mode refuse nothing, and are audited', async () => {
    const { seen, send, sidekey } = await ruled({ mode: 'report', rules: [{ methods: ['GET'] }] });
    expect((await send('DELETE /x')).status).toBe(200);
    expect(seen).toEqual(['DELETE /x Bearer TOKEN']);
    expect(await sidekey.audited(({ event }) => event === 'policy.reported')).toMatchObject({
      outcome: 'deny',
      code: 'rule_denied',
    });
  });

  test('apply after a change to the next request in an open tunnel', async () => {
    const upstream = await startUpstream((_request, response) => response.end('ok'));
    const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme' } } });
    await sidekey.grant([upstream.authority]);
    const client = await openTunnel(sidekey, upstream.authority);
    const request = `GET /x HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`;
    client.send(request);
    expect((await client.response()).status).toBe(200);
    await sidekey.configure({
      domains: { [upstream.authority]: { grant: 'acme', rules: [{ methods: ['POST'] }] } },
    });
    client.send(request);
    expect((await client.response()).headers['sidekey-error']).toBe('rule_denied');
  });
});
