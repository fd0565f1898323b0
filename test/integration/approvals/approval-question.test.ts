/** The parts of a request that people see, requests that cannot be shown, and the end of a wait. */
import { expect, test } from 'vitest';
import { longestPath } from '../../../src/domain/approval.ts';
import { startApprovalProxy } from '../../support/approval-proxy.ts';

test('a path too long to show in full is refused without an approval', async () => {
  const { send, seen, sidekey, told } = await startApprovalProxy();
  const end = '/admin/delete-everything';
  const long = `/${'a'.repeat(longestPath - end.length)}${end}`;
  expect(long).toHaveLength(longestPath + 1);
  const refused = await (await send(`DELETE ${long}`)).response();
  expect(refused.headers['sidekey-error']).toBe('policy_violation');
  expect(refused.body).toContain('send a shorter path');
  expect(seen).toEqual([]);
  expect((await sidekey.audit()).some(({ event }) => event === 'approval.asked')).toBe(false);
  const whole = `/b${'b'.repeat(longestPath - end.length - 2)}${end}`;
  const waiting = await send(`DELETE ${whole}?${'q'.repeat(2_000)}`);
  expect((await told()).message.url.endsWith(whole)).toBe(true);
  waiting.socket.destroy();
});

test('an approval shows the original reason, whether there is a body, and the query, which the webhook omits', async () => {
  const { send, told, sidekey } = await startApprovalProxy();
  const reason = Buffer.from('für Zoë 清理').toString('latin1');
  const client = await send('DELETE /x?why=secret', [`Sidekey-Reason: ${reason}`, 'Content-Length: 4']);
  client.send('body');
  const { message, body } = await told();
  expect(message).toMatchObject({ reason: 'für Zoë 清理', has_query: true, body_bytes: 4 });
  expect(body).not.toContain('secret');
  const [question] = await sidekey.proxy.state.store.approvals.waiting(Date.now());
  expect(question?.query).toBe('why=secret');
  expect(JSON.stringify(await sidekey.audit())).not.toContain('secret');
  client.socket.destroy();
});

test('a held request is refused at once when its grant is removed', async () => {
  const { send, told, sidekey, seen } = await startApprovalProxy();
  const client = await send('DELETE /x');
  await told();
  const { grants } = sidekey.proxy.state.store;
  for (const { id } of await grants.find({})) await grants.remove(id);
  const refused = await client.response();
  expect(refused.headers['sidekey-error']).toBe('approval_missing');
  expect(refused.body).toContain('was removed before anyone answered');
  expect(seen).toEqual([]);
});
