/** Each case of the table against a real endpoint that rotates refresh tokens: no grant is lost. */
import { writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { home } from '../../support/command-line.ts';
import { requestBody } from '../../support/request-body.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';
import { type Answer, type TransportCase, transportCases } from './token-transport-cases.ts';

const usual = new Set(['grant_type', 'refresh_token', 'client_id']);

/** Replaces `{origin}` in all texts. */
function at<T>(origin: string, value: T): T {
  return JSON.parse(JSON.stringify(value).replaceAll('{origin}', origin)) as T;
}

/** An endpoint that answers as scripted, then with new tokens for the newest refresh token. */
async function endpoint(answers: readonly Answer[]) {
  const requests: Record<string, string>[] = [];
  let issued = 0;
  const upstream = await startUpstream((request, response) => {
    void requestBody(request).then((body) => {
      const form = Object.fromEntries(new URLSearchParams(body));
      const others = Object.entries(form).filter(([name]) => !usual.has(name));
      const path = request.url === '/token' ? {} : { path: request.url ?? '' };
      requests.push({ ...path, ...Object.fromEntries(others) });
      const isUsed = form['refresh_token'] !== `refresh-${issued}-of-acme`;
      const answer: Answer =
        request.method !== 'POST' || isUsed
          ? { status: 400, error: { error: 'invalid_grant' } }
          : at(upstream.url, answers[requests.length - 1] ?? {});
      if (answer.error === undefined) issued += 1;
      const { status = 200, headers, error, afterMs = 0 } = answer;
      const tokens = { access_token: `access-${issued}`, refresh_token: `refresh-${issued}-of-acme` };
      response.writeHead(status, { ...headers, 'content-type': 'application/json' });
      setTimeout(() => response.end(JSON.stringify(error ?? tokens)), afterMs);
    });
  });
  return { upstream, requests };
}

async function refreshTwice({ answers, provider, scope = 'read write' }: TransportCase) {
  const { upstream, requests } = await endpoint(answers);
  const origin = upstream.url;
  const desk = {
    token_endpoint: `${origin}/token`,
    client_id: 'sidekey',
    audience: [upstream.authority],
    ...at(origin, provider ?? {}),
  };
  const machine = await home({
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    limits: { refresh_timeout: '3s' },
    providers: { desk },
  });
  await writeFile(machine.at('config', 'upstream-ca.pem'), upstreamCa);
  const tokens = { access_token: 'access-0', refresh_token: 'refresh-0-of-acme', scope };
  await machine.grant('desk', tokens, ['--provider', 'desk']);
  const refresh = () => machine.run(['grant', 'refresh', 'desk', '--force']);
  const first = await refresh();
  const second = first.exit === 0 ? await refresh() : null;
  return { origin, requests, first, second };
}

test.each(transportCases)('an endpoint that answers: $name', async (row) => {
  const { origin, requests, first, second } = await refreshTwice(row);
  expect(requests).toEqual(at(origin, row.requests));
  if (row.refused === undefined) {
    expect([first, second]).toMatchObject([
      { exit: 0, stderr: '' },
      { exit: 0, stderr: '' },
    ]);
    return;
  }
  const { message, hint } = at(origin, row.refused);
  expect(first.exit).toBeGreaterThan(0);
  expect(first.stderr).toContain(message);
  expect(first.stderr).toContain(hint);
  expect(first.stderr).not.toMatch(/secret-of-acme|refresh-0-of/);
});
