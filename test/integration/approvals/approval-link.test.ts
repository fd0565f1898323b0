/** A person is told by a webhook, and answers by its link: what they, the client and upstream each see. */
import { createHmac } from 'node:crypto';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { freePort } from '../../support/free-port.ts';
import { startApprovalProxy } from '../../support/approval-proxy.ts';
import { runProgram } from '../../support/command-line.ts';

const answer = (link: string | null, said: string) =>
  fetch(link ?? 'none:', { method: 'POST', body: new URLSearchParams({ answer: said }) });

describe('a webhook link', () => {
  test('shows the held request, and a person can approve the request there', async () => {
    const { sidekey, seen, send, told } = await startApprovalProxy();
    const client = await send('DELETE /tickets/7?why=shown', ['Sidekey-Reason: spring clean']);
    const { message, headers } = await told();
    expect(message).toMatchObject({
      method: 'DELETE',
      url: expect.stringMatching(/^https:\/\/api\.acme\.test:\d+\/tickets\/7$/),
      grant: 'acme',
      user: 'alice',
      agent: null,
      lease: null,
      reason: 'spring clean',
      rule_name: 'deletes',
      command: `sidekey approve ${message.id}`,
      link: expect.stringContaining(`${sidekey.proxy.pages}/approve/${message.id}/`),
    });
    expect(Date.parse(message.expires_at)).toBeGreaterThan(Date.now());
    expect(headers['sidekey-signature']).toBeUndefined();
    const page = await (await fetch(message.link ?? '')).text();
    expect(page).toContain('/tickets/7');
    expect(page).toContain('spring clean');
    expect(page).toContain('why=shown');
    expect(JSON.stringify(message)).not.toContain('why=shown');
    expect(seen).toEqual([]);
    expect((await answer(message.link, 'once')).status).toBe(200);
    expect((await client.response()).status).toBe(200);
    expect(seen).toEqual(['DELETE /tickets/7?why=shown']);
    expect(await (await fetch(message.link ?? '')).text()).toContain('Already allowed');
  });

  test('opens a page that shows the same text body as sidekey approve --list', async () => {
    const port = await freePort();
    const { sidekey, send, told } = await startApprovalProxy({ admin: { listen: `127.0.0.1:${port}` } });
    await send('DELETE /tickets', ['Content-Type: text/plain'], 'to: bob\nall of them');
    await told();
    const { stdout } = await runProgram(
      ['approve', '--list', '--config', sidekey.configFile],
      sidekey.folder,
    );
    expect(stdout).toMatch(/\n {2}body {5}to: bob\n {11}all of them\n/);
  });

  test('shows a short text body until the request is answered, without storing the body in a file', async () => {
    const { sidekey, seen, send, told } = await startApprovalProxy();
    const json = ['Content-Type: application/json'];
    const client = await send('DELETE /tickets', json, '{"ids": [7, 9],\n "note": "<b>body-mark</b>"}');
    const { message } = await told();
    const page = async () => (await fetch(message.link ?? '')).text();
    expect(await page()).toContain('Its body, 44 bytes, 2 lines:');
    expect(await page()).toMatch(/\[7, 9\],\n .*&lt;b.*body-mark/);
    expect(await page()).not.toContain('<b>body-mark');
    expect(JSON.stringify(message)).not.toContain('body-mark');
    expect((await answer(message.link, 'once')).status).toBe(200);
    expect((await client.response()).status).toBe(200);
    expect(seen).toEqual(['DELETE /tickets']);
    expect(await page()).not.toContain('body-mark');
    for (const name of await readdir(sidekey.folder, { recursive: true })) {
      const file = join(sidekey.folder, name);
      if ((await stat(file)).isFile()) expect(await readFile(file, 'latin1')).not.toContain('body-mark');
    }
  });

  test.each([
    ['is long', 'x'.repeat(4_097)],
    ['is no text', 'a\u0000b'],
  ])('does not show a body that %s', async (_, body) => {
    const { send, told } = await startApprovalProxy();
    await send('DELETE /tickets', [], body);
    const { message } = await told();
    const page = await (await fetch(message.link ?? '')).text();
    expect(page).not.toContain('Its body');
    expect(page).toContain('bytes of body, which is not shown');
  });

  test('can deny the request, and the client gets the refusal', async () => {
    const { seen, send, told } = await startApprovalProxy();
    const client = await send('DELETE /tickets/7');
    await answer((await told()).message.link, 'deny');
    expect((await client.response()).headers['sidekey-error']).toBe('approval_denied');
    expect(seen).toEqual([]);
  });

  test('can approve similar requests for a while, without another webhook call', async () => {
    const { seen, send, told } = await startApprovalProxy();
    const first = await send('DELETE /tickets/7');
    await answer((await told()).message.link, '15m');
    expect((await first.response()).status).toBe(200);
    expect((await (await send('DELETE /tickets/8')).response()).status).toBe(200);
    expect(seen).toEqual(['DELETE /tickets/7', 'DELETE /tickets/8']);
  });

  test('is invalid after the client has disconnected', async () => {
    const { sidekey, seen, send, told } = await startApprovalProxy();
    const client = await send('DELETE /tickets/7');
    const { message } = await told();
    client.socket.destroy();
    await sidekey.audited(({ event }) => event === 'denied');
    const late = await answer(message.link, 'once');
    expect([late.status, await late.text()]).toEqual([410, expect.stringContaining('Too late')]);
    expect(seen).toEqual([]);
  });
});

describe('a chat', () => {
  test('gets a link besides the webhook, and the link answers the request', async () => {
    const place = await startApprovalProxy();
    const { url = '' } = place.sidekey.proxy.config().approvals.webhook ?? {};
    const notify = [{ template: 'ntfy', url: url.replace('/hook', '/acme-topic') }];
    await place.sidekey.configure({ approvals: { webhook: { url }, notify } });
    const client = await place.send('DELETE /tickets/7', ['Sidekey-Reason: see https://evil.example']);
    const bodies = [await place.told(1), await place.told(2)].map(({ body }) => JSON.parse(body) as object);
    const ntfy = bodies.find((body) => 'topic' in body) as { topic: string; message: string; click: string };
    expect(ntfy).toMatchObject({
      topic: 'acme-topic',
      message: expect.stringContaining('DELETE api.acme.test'),
    });
    expect(JSON.stringify(ntfy)).not.toContain('evil');
    expect((await answer(ntfy.click, 'once')).status).toBe(200);
    expect((await client.response()).status).toBe(200);
  });
});

describe('the webhook', () => {
  test('is signed with the secret that the config names', async () => {
    const place = await startApprovalProxy();
    await writeFile(join(place.sidekey.folder, 'hook.secret'), 'secret-of-the-hook\n', { mode: 0o600 });
    const { url } = place.sidekey.proxy.config().approvals.webhook ?? {};
    // A reload reaches it.
    await place.sidekey.configure({ approvals: { webhook: { url, secret: 'file:hook.secret' } } });
    await place.send('DELETE /tickets/7');
    const { headers, body } = await place.told();
    const [, seconds, mac] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(String(headers['sidekey-signature'])) ?? [];
    expect(createHmac('sha256', 'secret-of-the-hook').update(`${seconds}.${body}`).digest('hex')).toBe(mac);
  });

  test('does not delay other notifications if a call fails', async () => {
    const { sidekey, seen, send, told } = await startApprovalProxy({ receives: () => 500 });
    const client = await send('DELETE /tickets/7');
    const { message } = await told();
    const said = { at: Date.now(), by: 'alice in a terminal', outcome: 'allowed' } as const;
    await sidekey.proxy.state.store.approvals.answer(message.id, { ...said, reach: { kind: 'once' } });
    expect((await client.response()).status).toBe(200);
    expect(seen).toEqual(['DELETE /tickets/7']);
    expect(sidekey.logged()).toContain('api.acme.test:');
    expect(sidekey.logged()).toContain('answered 500');
  });

  test('has no link without an approval listener', async () => {
    const { sidekey, send, told } = await startApprovalProxy({ admin: {} });
    expect(sidekey.proxy.pages).toBeNull();
    await send('DELETE /tickets/7');
    const { message } = await told();
    expect(message.link).toBeNull();
    expect(message.text).toContain(`Answer: sidekey approve ${message.id}`);
  });

  test('has the configured public address in its link', async () => {
    const { sidekey, send, told } = await startApprovalProxy({
      admin: { listen: '127.0.0.1:0', url: 'https://sidekey.acme.test/people/' },
    });
    expect(sidekey.proxy.pages).toBe('https://sidekey.acme.test/people');
    await send('DELETE /tickets/7');
    const { message } = await told();
    expect(message.link).toContain(`https://sidekey.acme.test/people/approve/${message.id}/`);
  });
});
