/** Header fields and trailers: what a person is shown of them, and what a standing approval holds for. */
import { expect, test } from 'vitest';
import { blockOf } from '../../../src/cli/approve/format.ts';
import { questionMessage } from '../../../src/agents/approvals/announce.ts';
import { yes } from '../../support/question.ts';
import { openTunnel } from '../../support/raw-client.ts';
import { bearerToken, startSidekey } from '../../support/sidekey.ts';
import { startUpstream, upstreamHost } from '../../support/upstream.ts';

const rules = [{ name: 'deletes', methods: ['DELETE'], outcome: 'approve' }];

async function asking(provider: object = {}) {
  const seen: Record<string, unknown>[] = [];
  const upstream = await startUpstream((request, response) => {
    request.resume().on('end', () => {
      seen.push({ ...request.headers, ...request.trailers });
      response.end('done');
    });
  });
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'acme', default: 'allow', rules } },
    config: { providers: { acme: { audience: [upstreamHost], ...provider } } },
  });
  await sidekey.grant([upstream.authority]);
  const { approvals } = sidekey.proxy.state.store;
  const send = async (fields: readonly string[], body = '') => {
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`DELETE /x HTTP/1.1\r\nHost: ${upstream.authority}\r\n`);
    client.send(`${fields.map((field) => `${field}\r\n`).join('')}\r\n${body}`);
    return client;
  };
  /** The question that waits, once there is one. */
  const asked = async () => {
    for (;;) {
      const [question] = await approvals.waiting(Date.now());
      if (question !== undefined) return question;
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { sidekey, seen, send, asked, approvals };
}

const common = [
  'User-Agent: curl/8',
  'Accept: */*',
  'accept_encoding: gzip',
  'Accept-Language: de',
  'Content-Type: application/json; charset=UTF-8',
  'Traceparent: 00-1-2-01',
  'Authorization: Bearer of-the-agent',
  'Sidekey-Reason: because',
];
const shown = [
  'X-Impersonate-User: alice',
  'Prefer: return=minimal',
  'If-Match: "1"',
  'X-Amz-Target: A.Delete',
];

test('an approval shows all header fields and trailers that are sent, except common fields', async () => {
  const { send, asked, seen, approvals, sidekey } = await asking();
  const client = await send(
    [...common, ...shown, 'Transfer-Encoding: chunked', 'Trailer: X-Mode'],
    '1\r\na\r\n0\r\nX-Mode: force\r\nX-Http-Method: PUT\r\nHost: x\r\n\r\n',
  );
  const question = await asked();
  const fields = [...shown, '(trailer) X-Mode: force'];
  expect(question.fields).toEqual(fields);
  const block = blockOf(question, Date.now(), { width: 80, lines: 4 });
  const first = block.indexOf(`  fields   ${shown[0]}`);
  expect(block.slice(first, first + 5).map((line) => line.slice(11))).toEqual(fields);
  const message = questionMessage(question, null);
  expect(message.field_names).toEqual([
    'X-Impersonate-User',
    'Prefer',
    'If-Match',
    'X-Amz-Target',
    '(trailer) X-Mode',
  ]);
  expect(message.text).toContain(
    ', with the header fields X-Impersonate-User, Prefer, If-Match, X-Amz-Target, %28trailer%29%20X-Mode, and sends a body',
  );
  expect(JSON.stringify(message)).not.toContain('alice');
  await approvals.answer(question.id, yes(Date.now()));
  expect((await client.response()).status).toBe(200);
  expect(seen).toMatchObject([
    { 'x-impersonate-user': 'alice', 'x-mode': 'force', authorization: `Bearer ${bearerToken}` },
  ]);
  expect(seen[0]).not.toHaveProperty('x-http-method');
  expect(JSON.stringify(await sidekey.audit())).not.toContain('alice');
});

const jwt = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from('{"sub":"1"}').toString('base64url')}.c2ln`;

test('an approval shows the names of fields with secrets of the agent, and omits fields that Sidekey replaces', async () => {
  const { send, asked } = await asking({ inject: { header: 'X-Acme-Key' } });
  const client = await send([
    'X_Acme_Key: of-the-agent',
    'Authorization: Basic YTpi',
    'Cookie: sid=1',
    'X-Auth-Token: short',
    'X-Api-Key: hunter2',
    `X-Forwarded-Assertion: ${jwt}`,
    'X-Plain: ghp_0123456789abcdefghij0123456789abcdef',
    'Content-Type: text/xml',
  ]);
  expect((await asked()).fields).toEqual([
    'Cookie: (hidden)',
    'X-Auth-Token: (hidden)',
    'X-Api-Key: (hidden)',
    'X-Forwarded-Assertion: (hidden)',
    'X-Plain: (hidden)',
    'Content-Type: text/xml',
  ]);
  client.socket.destroy();
});

test('an approval shows the name of a forwarded Authorization field', async () => {
  const { send, asked } = await asking({ inject: 'placeholder' });
  const client = await send(['Authorization: Bearer of-the-agent']);
  expect((await asked()).fields).toEqual(['Authorization: (hidden)']);
  client.socket.destroy();
});

test('an approval escapes deceptive characters of a field', async () => {
  const { send, asked } = await asking();
  const value = Buffer.from('ü \u202eevil\u00a0x').toString('latin1');
  const client = await send([`X-User: ${value}`, 'X-Pad: a          b']);
  expect((await asked()).fields).toEqual(['X-User: ü \\u202eevil\\u00a0x', 'X-Pad: a b']);
  client.socket.destroy();
});

test('a request with more fields than an approval can show is refused', async () => {
  const { send, seen, sidekey } = await asking();
  const refused = await (await send([`X-Long: ${'x'.repeat(2_041)}`])).response();
  expect([refused.status, refused.headers['sidekey-error']]).toEqual([403, 'policy_violation']);
  expect(refused.body).toContain('send a shorter header');
  expect(seen).toEqual([]);
  expect((await sidekey.audit()).some(({ event }) => event === 'approval.asked')).toBe(false);
});

test('a standing approval applies only to the fields that the person saw', async () => {
  const { send, asked, approvals } = await asking();
  const until = { kind: 'until', at: Date.now() + 3_600_000 } as const;
  const first = await send(['X-User: alice', 'Idempotency-Key: 1', 'Content-Type: text/xml']);
  await approvals.answer((await asked()).id, yes(Date.now(), until));
  expect((await first.response()).status).toBe(200);
  const again = await send([
    'Accept: text/html',
    'X-User: alice',
    'Idempotency-Key: 2',
    'Content-Type: text/csv',
  ]);
  expect((await again.response()).status).toBe(200);
  for (const fields of [
    ['X-User: bob', 'Idempotency-Key: 1', 'Content-Type: text/xml'],
    ['X-User: alice', 'Idempotency-Key: 1', 'Content-Type: text/xml', 'X-Force: 1'],
    ['X-User: alice', 'Idempotency-Key: 1'],
    [],
  ]) {
    const client = await send(fields);
    const { id } = await asked();
    client.socket.destroy();
    while ((await approvals.get(id)) !== null) await new Promise((resolve) => setImmediate(resolve));
  }
  expect(await approvals.listStanding(Date.now())).toHaveLength(1);
});
