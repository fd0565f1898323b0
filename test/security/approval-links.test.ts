/**
 * A link in a message is fetched by programs before a person sees it, guessed at, passed on, and written
 * down. None of that may answer a question, and no byte that the program keeps may hold a link: whoever has
 * it may answer.
 */
import { expect, test } from 'vitest';
import { startApprovalProxy } from '../support/approval-proxy.ts';
import { filesBelow } from '../support/marks.ts';

const post = (url: string, said = 'once') =>
  fetch(url, { method: 'POST', body: new URLSearchParams({ answer: said }) });

test('a program that fetches a link with any method does not answer the approval', async () => {
  const { sidekey, seen, send, told } = await startApprovalProxy();
  await send('DELETE /tickets/7');
  const { message } = await told();
  const link = message.link ?? '';
  for (const init of [
    { method: 'GET' },
    { method: 'HEAD' },
    { method: 'OPTIONS' },
    { method: 'PUT', body: 'answer=once' },
  ]) {
    for (const query of ['', '?answer=once', '?utm_source=chat']) await fetch(link + query, init);
  }
  expect(await sidekey.proxy.state.store.approvals.get(message.id)).toMatchObject({ answer: null });
  expect(seen).toEqual([]);
});

test('a signature that is cut, guessed, or of another approval or key answers nothing and reveals nothing', async () => {
  const here = await startApprovalProxy();
  const elsewhere = await startApprovalProxy();
  await here.send('DELETE /tickets/7');
  await here.send('DELETE /tickets/8');
  await elsewhere.send('DELETE /tickets/7');
  const link = (await here.told()).message.link ?? '';
  const other = (await here.told(2)).message.link ?? '';
  const foreign = (await elsewhere.told()).message.link ?? '';
  const base = link.slice(0, -51);
  const wrong = [
    base + other.slice(-51),
    base + foreign.slice(-51),
    base + 'A'.repeat(51),
    `${base.replace(/[^/]{8}\/$/, 'zzzzzzzz/')}${link.slice(-51)}`,
  ];
  const bodies = [];
  for (const url of wrong) {
    for (const answer of [await fetch(url), await post(url)]) {
      expect(answer.status).toBe(404);
      bodies.push(await answer.text());
    }
  }
  expect(new Set(bodies).size).toBe(1);
  expect(bodies[0]).not.toContain('tickets');
  for (const url of [link.slice(0, -1), `${link}A`, base, `${link}/`]) {
    const answer = await post(url);
    expect([answer.status, await answer.json()]).toMatchObject([404, { code: 'not_found' }]);
  }
  const { store } = here.sidekey.proxy.state;
  const waiting = await store.approvals.waiting(Date.now());
  expect(waiting).toHaveLength(2);
  expect(here.seen).toEqual([]);
});

test('a link appears in no log, audit line or database row, even after failures', async () => {
  const { sidekey, send, told } = await startApprovalProxy({ receives: () => 500 });
  const client = await send('DELETE /tickets/7', ['Sidekey-Reason: spring clean']);
  const { message } = await told();
  const link = message.link ?? '';
  const signature = link.slice(-43); // Without the end of the question, which is no secret.
  await fetch(link);
  await fetch(link.replace(/.$/, '.'));
  // Pages that cannot be made are logged.
  const { approvals } = sidekey.proxy.state.store;
  const sound = { ...approvals };
  Object.assign(approvals, { get: () => Promise.reject(new Error('no such table')) });
  expect((await fetch(link)).status).toBe(500);
  Object.assign(approvals, sound);
  await post(link, 'nonsense');
  await post(link, 'deny');
  expect((await client.response()).headers['sidekey-error']).toBe('approval_denied');
  await sidekey.audited(({ event }) => event === 'denied');
  await sidekey.proxy.close();
  const kept = await filesBelow(sidekey.folder);
  expect(kept.size).toBeGreaterThan(4);
  const hex = Buffer.from(signature, 'base64url');
  for (const [file, bytes] of kept) {
    for (const form of [signature, hex, hex.toString('hex')]) expect(bytes.includes(form), file).toBe(false);
  }
  expect(sidekey.logged()).not.toContain(signature);
  expect(sidekey.logged()).toContain('a page for people could not be made');
});

test('a page with hostile agent text keeps its layout and wording', async () => {
  const { send, told } = await startApprovalProxy();
  const reason = `</blockquote><form action="https://evil.example"><button name=answer value=1h>No</button><script>x`;
  await send(`DELETE /<script>alert(1)</script>`, [`Sidekey-Reason: ${reason}`]);
  const { message } = await told();
  const body = await (await fetch(message.link ?? '')).text();
  expect(body).not.toMatch(/<script|evil\.example"|<form action/);
  expect(body.match(/<button/g)).toHaveLength(4);
  expect(message.text).not.toMatch(/[<>]|evil/);
});
