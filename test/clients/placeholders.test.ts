/** Programs that hold a placeholder and put it where they like; what the upstream sees is the credential. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { requestBody } from '../support/request-body.ts';
import { startUpstream } from '../support/upstream.ts';
import { createSecret, type Secret } from './support/secret.ts';
import { missing, openStage, type Stage } from './support/stage.ts';

interface Seen {
  readonly method: string;
  readonly target: string;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: string;
}

interface Setup extends Stage {
  readonly url: string;
  readonly seen: readonly Seen[];
}

/** An upstream that answers whoever has the credential anywhere in the request. */
async function setup(secret: Secret, define: (url: string) => object, credential?: object): Promise<Setup> {
  const seen: Seen[] = [];
  const upstream = await startUpstream((request, response) => {
    const { method = '', url: target = '', headers } = request;
    void requestBody(request).then(async (body) => {
      seen.push({ method, target, headers, body });
      await secret.hold(`${method} ${target.split('?', 1)[0]}`);
      response.writeHead(200, { 'Content-Type': 'application/json' }).end('{"greeting":"hello"}');
    });
  });
  const stage = await openStage(secret, {
    domains: { [upstream.authority]: { grant: 'client-test' } },
    provider: 'company',
    definition: {
      environment: { COMPANY_TOKEN: 'co_sidekeyPlaceholder000000000000000000' },
      ...define(upstream.url),
    },
    audience: upstream.authority,
    ...(credential === undefined ? {} : { credential }),
  });
  return { ...stage, url: upstream.url, seen };
}

test.skipIf(missing('curl', '--version'))(
  'curl sends the placeholder in a header, Basic, the query, JSON, a form and a file of a form',
  { timeout: 60_000 },
  async () => {
    const secret = createSecret();
    const at = await setup(secret, () => ({ inject: 'placeholder' }));
    const { token } = secret;
    await at.script(
      [
        'curl -sSf -H "X-Key: $COMPANY_TOKEN" $URL/header',
        'curl -sSf -u "ann:$COMPANY_TOKEN" $URL/basic',
        'curl -sSf "$URL/query?key=$COMPANY_TOKEN"',
        `curl -sSf -H 'Content-Type: application/json' -d "{\\"token\\":\\"$COMPANY_TOKEN\\"}" $URL/json`,
        'curl -sSf --data-urlencode "token=$COMPANY_TOKEN" $URL/form',
        'printf "key=%s" "$COMPANY_TOKEN" | curl -sSf -F file=@- $URL/multipart',
        'curl -sSf --http2 -H "X-Key: $COMPANY_TOKEN" $URL/http2',
      ],
      { env: { URL: at.url } },
    );
    const by = (end: string) => at.seen.find(({ target }) => target.startsWith(`/${end}`));
    expect(by('header')?.headers['x-key']).toBe(token);
    expect(by('basic')?.headers['authorization']).toBe(secret.basic('ann'));
    expect(by('query')?.target).toBe(`/query?key=${encodeURIComponent(token)}`);
    expect(JSON.parse(by('json')?.body ?? '')).toEqual({ token });
    expect(new URLSearchParams(by('form')?.body).get('token')).toBe(token);
    expect(by('multipart')?.body).toContain(`key=${token}`);
    expect(by('http2')?.headers['x-key']).toBe(token);
    expect(at.seen).toHaveLength(7);
  },
);

const python = '/usr/bin/python3';

test.skipIf(missing(python, '-c', 'import google.auth, requests'))(
  'google-auth refreshes its token with placeholders, and calls the API with the result',
  { timeout: 60_000 },
  async () => {
    const secret = createSecret();
    const at = await setup(secret, (url) => ({ token_endpoint: `${url}/token` }), {
      type: 'oauth2',
      access_token: secret.token,
      refresh_token: 'not-used-here',
      expires_in: 3_600,
    });
    await writeFile(
      join(at.room, 'ask.py'),
      [
        'import os, sys',
        'from google.oauth2.credentials import Credentials',
        'from google.auth.transport.requests import AuthorizedSession',
        'placeholder = os.environ["COMPANY_TOKEN"]',
        'credentials = Credentials(None, refresh_token=placeholder, client_id="any", client_secret="any",',
        '                          token_uri=sys.argv[1] + "/token")',
        'session = AuthorizedSession(credentials)',
        'print(session.get(sys.argv[1] + "/me").json()["greeting"])',
        'assert credentials.token == placeholder and credentials.valid and not credentials.expired',
      ].join('\n'),
    );
    const ran = await at.perform([python, 'ask.py', at.url]);
    expect(ran).toMatchObject({
      exit: 0,
      stdout: 'hello\n',
      stderr: expect.not.stringContaining('Traceback'),
    });
    expect(at.seen.map(({ target }) => target)).toEqual(['/me']);
    expect(at.seen[0]?.headers['authorization']).toBe(`Bearer ${secret.token}`);
  },
);
