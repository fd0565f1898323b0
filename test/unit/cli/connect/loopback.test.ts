import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { describe, expect, onTestFinished, test } from 'vitest';
import { redirectTarget, type RedirectTarget } from '../../../../src/operations/connect/redirect.ts';
import { openLoopback } from '../../../../src/cli/connect/browser/receive-code.ts';
import { visit } from '../../../support/connect-home.ts';

const state = 'a-state-that-nobody-guesses';

const consentUrl = 'https://login.example.com/authorize?x=y';

async function listener(options: Parameters<typeof redirectTarget>[0] = { port: '0' }) {
  const target = redirectTarget(options);
  const loopback = await openLoopback(target as Extract<RedirectTarget, { kind: 'loopback' }>);
  onTestFinished(() => loopback.close());
  const answers: string[] = [];
  const gate = Promise.withResolvers<void>();
  gate.resolve();
  let wait: Promise<void> = gate.promise;
  const expecting = () =>
    loopback.expect({
      launched: async () => consentUrl,
      callback: {
        state,
        async answered(parameters) {
          answers.push(parameters.get('code') ?? '');
          await wait;
          return { kind: 'done', title: 'Done', says: [] };
        },
      },
    });
  const callback = (code: string) => `${loopback.redirectUri}?code=${code}&state=${state}`;
  return {
    loopback,
    answers,
    expecting,
    callback,
    holdBack: (until: Promise<void>): void => {
      wait = until;
    },
  };
}

describe('a callback', () => {
  test('is accepted once', async () => {
    const { answers, expecting, callback } = await listener();
    expecting();
    expect((await visit(callback('first'))).status).toBe(200);
    const second = await visit(callback('second'));
    expect(second).toMatchObject({ status: 400, body: expect.stringContaining('Answered already') });
    expect(answers).toEqual(['first']);
  });

  test('is accepted only once while the first is being processed', async () => {
    const { answers, expecting, callback, holdBack } = await listener();
    const gate = Promise.withResolvers<void>();
    holdBack(gate.promise);
    expecting();
    const first = visit(callback('first'));
    const second = await Promise.race([first, visit(callback('second')).then((page) => page)]);
    expect(second.status).toBe(400);
    gate.resolve();
    expect((await first).status).toBe(200);
    expect(answers).toEqual(['first']);
  });

  test('before the consent has started gets 404', async () => {
    const { answers, expecting, callback } = await listener();
    expect((await visit(callback('early'))).status).toBe(404);
    expecting();
    expect((await visit(callback('later'))).status).toBe(200);
    expect(answers).toEqual(['later']);
  });

  test('receives its whole page even if the listener closes meanwhile', async () => {
    const { loopback, expecting, callback } = await listener();
    expecting();
    const page = visit(callback('first'));
    await page.then(() => loopback.close());
    expect((await page).body).toContain('</html>');
    await expect(visit(callback('late'))).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });
});

describe('the link to the consent page', () => {
  test('redirects once, and does not contain the state', async () => {
    const { expecting } = await listener();
    const link = expecting();
    expect(link).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/[A-Za-z0-9_-]{32}$/);
    expect(link).not.toContain(state);
    const first = await visit(link);
    expect(first).toMatchObject({
      status: 302,
      headers: { location: consentUrl, 'referrer-policy': 'no-referrer' },
    });
    const second = await visit(link);
    expect(second).toMatchObject({ status: 400, body: expect.stringContaining('has been opened already') });
    expect(second.headers['location']).toBeUndefined();
  });

  test('is refused with a different Host', async () => {
    const { expecting } = await listener();
    const link = expecting();
    expect((await visit(link, { headers: { host: 'evil.example.com' } })).status).toBe(404);
    expect((await visit(link)).status).toBe(302);
  });
});

describe('the loopback listener', () => {
  test('listens only on the loopback address', async () => {
    const { loopback } = await listener();
    expect(loopback.redirectUri).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/callback$/);
  });

  test('listens on IPv4 and IPv6 for localhost, so that no other program gets the callback', async () => {
    const { loopback, expecting } = await listener({ redirectUri: 'http://localhost/cb', port: '0' });
    expecting();
    const { port } = new URL(loopback.redirectUri);
    const hasIpv6 = Object.values(networkInterfaces()).some((list) =>
      list?.some((each) => each.address === '::1'),
    );
    for (const host of ['127.0.0.1', ...(hasIpv6 ? ['[::1]'] : [])]) {
      const answer = await visit(`http://${host}:${port}/cb`, { headers: { host: `localhost:${port}` } });
      expect(answer.status).toBe(400);
    }
  });

  test('refuses an explicit port in use, and the hint names --port', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    onTestFinished(() => void other.close());
    const { port } = other.address() as AddressInfo;
    await expect(listener({ port: String(port) })).rejects.toMatchObject({
      code: 'port_in_use',
      hint: expect.stringContaining('--port'),
    });
  });
});
