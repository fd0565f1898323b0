/** Exact signatures from the documentation of services. */
import { expect, test } from 'vitest';
import type { Credential } from '../../../../src/domain/credential.ts';
import type { HmacPlacement } from '../../../../src/proxy/schemes/hmac.ts';
import { applyScheme } from '../../../../src/proxy/schemes/apply.ts';

const authority = { scheme: 'https', host: 'api.acme.test', port: 443 } as const;
const plan: HmacPlacement = {
  kind: 'hmac',
  algorithm: 'sha256',
  sign: '{query}{body}',
  secret: 'utf8',
  encoding: 'hex',
  timestamp: 'seconds',
  headers: [],
  query: [],
};

function signed(
  own: Partial<HmacPlacement>,
  credential: Credential,
  path: string,
  now: number,
  body: string | null,
) {
  const facts = {
    method: 'POST',
    hasBody: body !== null,
    bodyHash: null,
    body: body === null ? null : Buffer.from(body),
    now,
    chunkBytes: 0,
  };
  const sealed = { credential, audience: ['api.acme.test'] };
  return applyScheme({ path, fields: [] }, { sealed, placement: { ...plan, ...own }, authority, facts });
}

// https://developers.binance.com/docs/binance-spot-api-docs/rest-api/request-security
const binance: Credential = {
  type: 'basic',
  username: 'vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A',
  password: 'NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j',
};

test('the signature of the Binance example matches, with all parameters in the query', () => {
  const { path, fields } = signed(
    {
      timestamp: 'milliseconds',
      headers: [['X-MBX-APIKEY', '{key}']],
      query: [
        ['timestamp', '{timestamp}'],
        ['signature', '{signature}'],
      ],
    },
    binance,
    '/api/v3/order?symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000',
    1_499_827_319_559,
    null,
  );
  expect(path).toMatch(
    /&recvWindow=5000&timestamp=1499827319559&signature=c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71$/,
  );
  expect(fields).toEqual(['X-MBX-APIKEY', binance.username]);
});

// https://docs.slack.dev/authentication/verifying-requests-from-slack
test('the signature of the Slack example matches', () => {
  const body =
    'token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c';
  const { fields } = signed(
    { sign: 'v0:{timestamp}:{body}', headers: [['X-Slack-Signature', 'v0={signature}']] },
    { type: 'api_key', value: '8f742231b10e8888abcd99yyyzzz85a5' },
    '/',
    1_531_420_618_000,
    body,
  );
  expect(fields).toEqual([
    'X-Slack-Signature',
    'v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503',
  ]);
});

test('a user name that cannot be a field value is refused', () => {
  const credential: Credential = { type: 'basic', username: 'é', password: 'p' };
  expect(() => signed({ headers: [['X-Key', '{key}{signature}']] }, credential, '/', 0, null)).toThrow(
    expect.objectContaining({
      code: 'policy_violation',
      message: expect.stringContaining('a header field cannot have'),
    }),
  );
});
