import type { IncomingMessage, ServerResponse } from 'node:http';
import { describe, expect, test } from 'vitest';
import { hintText } from '../../../src/lib/hint.ts';
import { renew } from '../../../src/grants/oauth/renewal.ts';
import type { Provider } from '../../../src/domain/provider.ts';
import { ownUserAgent } from '../../../src/lib/package-files.ts';
import { requestBody } from '../../support/request-body.ts';
import { startUpstream } from '../../support/upstream.ts';
import { testUpstreamClient } from '../../support/upstream-fetch.ts';
import { acme, hour, oauth2, processesForTest } from '../../unit/grants/processes.ts';
import { type TokenAnswer, tokenAnswers } from './token-answers.ts';

type Answer = Pick<TokenAnswer, 'status' | 'headers' | 'body' | 'isCut'>;

function write({ status = 200, headers, body, isCut = false }: Answer, response: ServerResponse): void {
  const bytes = Buffer.from(body as string);
  const length = { 'content-length': bytes.length + (isCut ? 1 : 0) };
  response.writeHead(status, { 'content-type': 'application/json', ...length, ...headers });
  if (isCut) response.write(bytes, () => response.socket?.end());
  else response.end(bytes);
}

/** A grant that has ended, whose provider answers a refresh over TLS. `edited`: the definition may change. */
async function endedGrant(answer: (form: URLSearchParams) => Answer) {
  const forms: URLSearchParams[] = [];
  const agents: (string | undefined)[] = [];
  const upstream = await startUpstream((request: IncomingMessage, response) => {
    void requestBody(request).then((body) => {
      const form = new URLSearchParams(body);
      forms.push(form);
      agents.push(request.headers['user-agent']);
      write(answer(form), response);
    });
  });
  const { fetch } = testUpstreamClient();
  const at = await processesForTest();
  const definition: { current: Provider } = {
    current: { ...acme, tokenEndpoint: `${upstream.url}/token` },
  };
  const process = await at.process({
    providers: () => definition.current,
    refresh: (request, io) => renew(request, { ...io, fetch, now: at.time.now }),
  });
  const { registry, source } = process;
  const grant = await at.add(registry, oauth2());
  await at.time.advance(hour);
  const stored = async () => {
    const opened = await registry.read(grant.id);
    const credential = opened?.sealed.credential;
    if (credential?.type !== 'oauth2') throw new Error('The grant has no tokens.');
    return { state: opened?.grant.state, ...credential };
  };
  return { ...at, grant, source, stored, forms, agents, definition };
}

describe('a response to a refresh', () => {
  test.each(tokenAnswers)('with $name', async ({ stored, refused, ...answer }) => {
    const at = await endedGrant(() => answer);
    const result = await at.source.tokenFor(at.grant.id);
    const { state, accessToken, refreshToken, expiresAt } = await at.stored();
    expect({ accessToken, refreshToken }).toEqual({
      accessToken: stored.access,
      refreshToken: stored.refresh,
    });
    expect(state).not.toBe('reauth_required');
    if (refused === undefined) expect(result.kind).toBe('ready');
    else {
      if (result.kind !== 'refused') throw new Error(result.kind);
      expect(result.message).toContain(refused.reason);
      expect(hintText(result.hint)).toContain(refused.hint);
    }
    if (stored.lifeS !== undefined)
      expect(expiresAt).toBe(stored.lifeS === null ? null : at.time.now() + stored.lifeS * 1000);
    await at.source.close();
  });
});

test('tokens of a type that the definition does not accept work after an edit, without a new consent', async () => {
  const at = await endedGrant((form) => {
    const count = Number(form.get('refresh_token')?.split('-')[1]) + 1;
    return {
      body: JSON.stringify({
        access_token: `access-${count}`,
        refresh_token: `refresh-${count}`,
        token_type: 'mac',
      }),
    };
  });
  expect(await at.source.tokenFor(at.grant.id)).toMatchObject({ kind: 'refused', code: 'refresh_failed' });
  // The refusal is remembered: another request does not use up the next refresh token.
  expect(await at.source.tokenFor(at.grant.id)).toMatchObject({ kind: 'refused', code: 'refresh_failed' });
  expect(at.forms).toHaveLength(1);
  const { dialect } = at.definition.current;
  at.definition.current = {
    ...at.definition.current,
    dialect: { ...dialect, tokenResponse: { ...dialect.tokenResponse, tokenTypes: ['mac'] } },
  };
  expect(await at.source.tokenFor(at.grant.id)).toMatchObject({ kind: 'ready' });
  expect(await at.stored()).toMatchObject({ accessToken: 'access-3', refreshToken: 'refresh-3' });
  expect(at.forms.map((form) => form.get('refresh_token'))).toEqual(['refresh-1', 'refresh-2']);
  await at.source.close();
});

test('a required parameter is remembered with the refresh token of an unusable response', async () => {
  const at = await endedGrant((form) =>
    form.has('scope')
      ? { body: '{"access_token":"access-2","refresh_token":"refresh-2","token_type":"mac"}' }
      : { status: 400, body: '{"error":"invalid_request","error_description":"scope is missing"}' },
  );
  expect(await at.source.tokenFor(at.grant.id)).toMatchObject({ kind: 'refused', code: 'refresh_failed' });
  expect(at.forms.map((form) => form.get('scope'))).toEqual([null, 'read:tickets']);
  expect(await at.stored()).toMatchObject({ refreshToken: 'refresh-2', refreshNeeds: ['scope'] });
  await at.source.close();
});

test('a token request names Sidekey and its version', async () => {
  const at = await endedGrant(() => ({ body: '{"access_token":"access-2"}' }));
  await at.source.tokenFor(at.grant.id);
  expect(at.agents).toEqual([ownUserAgent()]);
  expect(ownUserAgent()).toMatch(/^sidekey\/\d+\.\d+\.\d+/);
  await at.source.close();
});
