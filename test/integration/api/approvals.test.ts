import { expect, test } from 'vitest';
import { openTunnel } from '../../support/raw-client.ts';
import { startService } from '../../support/service.ts';
import { startUpstream } from '../../support/upstream.ts';

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
    await expect.poll(async () => (await call('GET /v2/approvals')).body.data.length).toBe(1);
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
