import { describe, expect, test } from 'vitest';
import { ask, openSession } from '../../support/h2-client.ts';
import { oauth2Credential } from '../../support/oauth2-credential.ts';
import { openTunnel } from '../../support/raw-client.ts';
import { requestBody } from '../../support/request-body.ts';
import { startSidekey, type TestSidekey } from '../../support/sidekey.ts';
import { startH2Upstream, startUpstream } from '../../support/upstream.ts';
import { type Outcome, type Row, rows } from './expired-table.ts';

/** The API of a row, which knows the tokens that were renewed. */
async function startApi(row: Row) {
  const seen: { readonly token: string; readonly body: string }[] = [];
  const renewed: string[] = [];
  const whole = bytesOf(row.body ?? {});
  const upstream = await startH2Upstream((request, response) => {
    void requestBody(request).then((body) => {
      const token = request.headers.authorization?.replace('Bearer ', '') ?? 'none';
      seen.push({ token, body });
      if (renewed.includes(token) && row.outcome !== 'repeated once') {
        response.end('ok');
        return;
      }
      const fields = Object.entries({ 'content-type': 'application/json', ...row.fields });
      for (const [name, value] of fields) if (value !== '') response.setHeader(name, value);
      response.statusCode = row.status;
      if (row.method === 'HEAD' || row.status === 204) response.end();
      else {
        response.write(whole.subarray(0, 7));
        response.end(whole.subarray(7));
      }
    });
  });
  return { row, upstream, seen, renewed, whole };
}

type Api = Awaited<ReturnType<typeof startApi>>;

function bytesOf(body: unknown): Buffer {
  if (Buffer.isBuffer(body)) return body;
  return Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
}

/** Values by the names of providers and grants: `p0`, `p1` … */
function named<T>(values: readonly T[]): Readonly<Record<string, T>> {
  return Object.fromEntries(values.map((value, index) => [`p${index}`, value]));
}

async function setUp(): Promise<{ readonly apis: readonly Api[]; readonly sidekey: TestSidekey }> {
  const apis = await Promise.all(rows.map(startApi));
  const tokens = await startUpstream((request, response) => {
    const api = apis[Number(request.url?.split('/').at(-1))]!;
    request.resume();
    api.renewed.push(`renewed-${api.renewed.length + 1}`);
    response.setHeader('content-type', 'application/json');
    response.end(
      JSON.stringify({ access_token: api.renewed.at(-1), token_type: 'Bearer', expires_in: 3600 }),
    );
  });
  const providers = apis.map(({ row: { expired }, upstream }, index) => ({
    token_endpoint: `${tokens.url}/token/${index}`,
    client_id: 'x',
    audience: [upstream.authority],
    ...(expired === undefined ? {} : { expired }),
  }));
  const sidekey = await startSidekey({
    domains: Object.fromEntries(
      apis.map(({ upstream }, index) => [upstream.authority, { grant: `p${index}`, leak_guard: 'off' }]),
    ),
    config: { providers: named(providers), limits: { replay_bytes: 8_192 } },
  });
  for (const [index, { upstream }] of apis.entries()) {
    const credential = oauth2Credential({
      accessToken: 'first-token',
      refreshToken: 'refresh-token',
      expiresAt: Date.now() + 3_600_000,
      clientId: 'x',
    });
    const name = `p${index}`;
    await sidekey.grant([upstream.authority], { name, provider: name, credential });
  }
  return { apis, sidekey };
}

async function askH1(sidekey: TestSidekey, { row, upstream }: Api) {
  const { method = 'GET', sent = '' } = row;
  const client = await openTunnel(sidekey, upstream.authority);
  const length = sent === '' ? '' : `Content-Length: ${sent.length}\r\n`;
  client.send(`${method} / HTTP/1.1\r\nHost: ${upstream.authority}\r\n${length}\r\n${sent}`);
  return client.response(method);
}

async function askH2(sidekey: TestSidekey, { row, upstream }: Api) {
  const session = await openSession(sidekey, upstream.authority);
  return ask(session, { ':method': row.method ?? 'GET' }, row.sent);
}

/** Returns the outcome in the words of the table, or a description of another one. */
function outcomeOf({ row, seen, renewed, whole }: Api, { status, body }: { status: number; body: string }) {
  const isAnswer = status === row.status && body === (row.method === 'HEAD' ? '' : whole.toString('latin1'));
  const isOk = status === 200 && body === (row.method === 'HEAD' ? '' : 'ok');
  const sent = seen.map(({ token }) => token).join();
  const isUnchanged = seen.every((each) => each.body === (row.sent ?? ''));
  const outcomes: Readonly<Record<Outcome, boolean>> = {
    renewed: isOk && sent === 'first-token,renewed-1',
    forwarded: isAnswer && sent === 'first-token' && renewed.length === 0,
    'repeated once': isAnswer && sent === 'first-token,renewed-1' && renewed.length === 1,
    next: isAnswer && sent === 'first-token' && renewed.length === 1,
  };
  const happened = Object.entries(outcomes).find(([, hasHappened]) => hasHappened && isUnchanged);
  return happened?.[0] ?? JSON.stringify({ status, body: body.slice(0, 100), sent, renewed });
}

describe('answers that report an ended token', () => {
  test.each([
    ['HTTP/1.1', askH1],
    ['HTTP/2', askH2],
  ])('have the outcome of their row over %s', { timeout: 60_000 }, async (_protocol, send) => {
    const { apis, sidekey } = await setUp();
    const outcomes: [string, string][] = [];
    for (const api of apis) {
      const answer = await send(sidekey, api);
      // The refresh for the next request goes on behind the answer.
      if (api.row.outcome === 'next')
        while (api.renewed.length === 0) await new Promise((resolve) => setImmediate(resolve));
      outcomes.push([api.row.name, outcomeOf(api, answer)]);
    }
    expect(Object.fromEntries(outcomes)).toEqual(
      Object.fromEntries(rows.map(({ name, outcome }) => [name, outcome])),
    );
  });
});
