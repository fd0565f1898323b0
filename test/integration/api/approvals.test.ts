import { expect, test } from 'vitest';
import { choicesOf } from '../../../src/domain/approval.ts';
import { openTunnel } from '../../support/raw-client.ts';
import { startService } from '../../support/service.ts';
import { startUpstream } from '../../support/upstream.ts';

/** Requests to the API until a question is stored. */
const patience = { timeout: 20_000 };

test('a standing approval given by the API lasts until the API revokes it', async () => {
  const { authority } = await startUpstream((_request, response) => void response.end('done'));
  const rules = [{ name: 'deletes', methods: ['DELETE'], outcome: 'approve' }];
  const { sidekey, call } = await startService({
    domains: { [authority]: { grant: 'acme', default: 'allow', rules } },
  });
  await sidekey.grant([authority]);
  const send = async () => {
    const client = await openTunnel(sidekey, authority);
    client.send(`DELETE /x HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
    return client;
  };
  const waiting = async () => {
    await expect.poll(async () => (await call('GET /v2/approvals')).body.data.length, patience).toBe(1);
    return (await call('GET /v2/approvals')).body.data[0].id as string;
  };
  const first = await send();
  const answer = { answer: 'for', span: '1h' };
  expect((await call(`POST /v2/approvals/${await waiting()}`, { body: answer })).status).toBe(200);
  expect((await first.response()).status).toBe(200);
  expect((await (await send()).response()).status).toBe(200);

  const [standing] = (await call('GET /v2/approvals/standing')).body.data;
  expect((await call(`DELETE /v2/approvals/${standing.id}`)).body.id).toBe(standing.id);
  expect((await call('GET /v2/approvals/standing')).body.data).toEqual([]);
  expect((await call(`DELETE /v2/approvals/${standing.id}`)).status).toBe(404);
  const third = await send();
  expect((await call(`POST /v2/approvals/${await waiting()}`, { body: { answer: 'deny' } })).status).toBe(
    200,
  );
  expect((await third.response()).status).toBe(403);
});

test('a waiting request is shown with its body, what the rule is about, and the answers of its link', async () => {
  const { authority } = await startUpstream((_request, response) => void response.end('done'));
  const rules = [{ name: 'pay', outcome: 'approve', json: { '$.amount': { max: 9 } } }];
  const { sidekey, call, key } = await startService({
    domains: { [authority]: { grant: 'acme', default: 'allow', rules } },
  });
  await sidekey.grant([authority]);
  const client = await openTunnel(sidekey, authority);
  const body = '{"amount": 5, "note": "\u202e"}';
  const fields = [
    'Content-Type: application/json',
    'X-Mode: force',
    `Content-Length: ${Buffer.byteLength(body)}`,
  ];
  const head = [`POST /x HTTP/1.1`, `Host: ${authority}`, ...fields, '', ''].join('\r\n');
  client.send(head, Buffer.from(body).toString('latin1'));
  await expect.poll(async () => (await call('GET /v2/approvals')).body.data.length, patience).toBe(1);
  const list = await call('GET /v2/approvals');
  const { id } = list.body.data[0];

  const shown = await call(`GET /v2/approvals/${id}`);
  expect(shown.body).toMatchObject({
    title: 'May a caller without a token send this request?',
    url: `https://${authority}/x`,
    quotes: [
      {
        caption: 'Its header fields that are not common, 1',
        parts: [{ text: 'X-Mode: force', named: false }],
      },
      {
        caption: 'Its body, 28 bytes, 1 line',
        parts: [
          { text: '{', named: false },
          { text: '"amount": 5', named: true },
          { text: String.raw`, "note": "\u202e"}`, named: false },
        ],
      },
    ],
    answers: choicesOf({ who: { lease: null } as never }),
    like: 'Requests like it have the same rule, account and header fields, and come without a token.',
  });
  expect(shown.body.facts).toContainEqual({ name: 'It is about', value: '$.amount' });
  // A caller that cannot answer does not need the body.
  const read = (await call(`GET /v2/approvals/${id}`, { key: await key({ role: 'auditor' }) })).body;
  expect(read.quotes).toEqual(shown.body.quotes.slice(0, 1));
  expect(read.facts).toContainEqual({ name: 'With', value: '28 bytes of body, which is not shown' });
  expect(shown.body.expires_in).toBeGreaterThan(100);
  for (const [path, { headers }] of [
    ['/v2/approvals', list],
    [`/v2/approvals/${id}`, shown],
  ] as const) {
    const known = { headers: { 'if-none-match': headers.get('etag') ?? '' } };
    expect((await call(`GET ${path}`, known)).status, path).toBe(304);
  }

  await call(`POST /v2/approvals/${id}`, { body: { answer: 'once' } });
  expect((await client.response()).status).toBe(200);
  await expect
    .poll(async () => (await call(`GET /v2/approvals/${id}`)).body.quotes, patience)
    .toHaveLength(1);
  const after = (await call(`GET /v2/approvals/${id}`)).body;
  expect(after).toMatchObject({ answers: [], answer: { outcome: 'allowed', reach: 'once' } });
  expect((await call('GET /v2/approvals/00000000')).status).toBe(404);
});
