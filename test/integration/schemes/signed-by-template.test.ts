/**
 * Requests that are signed with a shared secret, held against the rules of real services: the upstream of
 * each test makes the signature that it expects from what it has received, by the words of the service's
 * documentation.
 */
import { createHash, createHmac, type BinaryToTextEncoding } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { Credential } from '../../../src/domain/credential.ts';
import {
  startInjectProxy,
  valuesIn,
  type ClientProtocol,
  type SeenRequest,
} from '../../support/inject-proxy.ts';
import { openTunnel, problemOf } from '../../support/raw-client.ts';
import { requestBody } from '../../support/request-body.ts';
import { startSidekey } from '../../support/sidekey.ts';
import { startUpstream } from '../../support/upstream.ts';

const protocols: readonly ClientProtocol[] = ['HTTP/1.1', 'HTTP/2'];
const json = ['Content-Type', 'application/json'];
const secretBytes = Buffer.from('a shared secret of 32 bytes, yes');
const pairOf = (password: string): Credential => ({ type: 'basic', username: 'KEY-ID', password });

function hmac(
  key: Buffer | string,
  signed: string | Buffer,
  encoding: BinaryToTextEncoding,
  algorithm = 'sha256',
) {
  return createHmac(algorithm, key).update(signed).digest(encoding);
}

function one(it: SeenRequest, name: string): string {
  const [value = '', ...more] = valuesIn(it, name);
  expect(more).toEqual([]);
  return value;
}

function expectNow(milliseconds: number): void {
  expect(Math.abs(milliseconds - Date.now())).toBeLessThan(60_000);
}

describe.each(protocols)('over %s, a request is signed', (protocol) => {
  // https://docs.cdp.coinbase.com/exchange/rest-api/authentication
  test('as Coinbase Exchange documents', async () => {
    const inject = {
      hmac: {
        algorithm: 'sha256',
        secret: 'base64',
        encoding: 'base64',
        sign: '{timestamp}{method}{target}{body}',
        headers: {
          'CB-ACCESS-KEY': '{key}',
          'CB-ACCESS-SIGN': '{signature}',
          'CB-ACCESS-TIMESTAMP': '{timestamp}',
        },
      },
    };
    const { ask, seen } = await startInjectProxy(inject, {
      credential: pairOf(secretBytes.toString('base64')),
    });
    const mine = ['CB-ACCESS-SIGN', 'mine', 'CB-ACCESS-TIMESTAMP', '1', 'CB-ACCESS-PASSPHRASE', 'stays'];
    await ask(protocol, {
      method: 'POST',
      path: '/orders',
      fields: [...json, ...mine],
      body: '{"size":"0.01"}',
    });
    await ask(protocol, { path: '/orders?before=2&limit=30', fields: ['Authorization', 'Bearer mine'] });
    expect(seen).toHaveLength(2);
    for (const it of seen) {
      const at = one(it, 'cb-access-timestamp');
      expectNow(Number(at) * 1000);
      expect(one(it, 'cb-access-key')).toBe('KEY-ID');
      expect(one(it, 'cb-access-sign')).toBe(
        hmac(secretBytes, Buffer.concat([Buffer.from(`${at}${it.method}${it.url}`), it.body]), 'base64'),
      );
      expect(valuesIn(it, 'authorization')).toEqual([]);
    }
    expect(one(seen[0]!, 'cb-access-passphrase')).toBe('stays');
    expect(seen[0]!.body.toString()).toBe('{"size":"0.01"}');
  });

  // https://developers.binance.com/docs/binance-spot-api-docs/rest-api/request-security
  test('as Binance documents', async () => {
    const inject = {
      hmac: {
        algorithm: 'sha256',
        timestamp: 'milliseconds',
        sign: '{query}{body}',
        headers: { 'X-MBX-APIKEY': '{key}' },
        query: { signature: '{signature}', timestamp: '{timestamp}' },
      },
    };
    const { ask, seen } = await startInjectProxy(inject, {
      credential: pairOf('NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP'),
    });
    await ask(protocol, {
      path: '/api/v3/account?recvWindow=5000&sign%61ture=mine&timestamp=1&signature[]=x',
    });
    await ask(protocol, { path: '/api/v3/openOrders' });
    const form = ['Content-Type', 'application/x-www-form-urlencoded'];
    await ask(protocol, {
      method: 'POST',
      path: '/api/v3/order?symbol=LTCBTC',
      fields: form,
      body: 'side=BUY&quantity=1',
    });
    expect(seen.map(({ url }) => url.replace(/(timestamp|signature)=[^&]+/g, '$1=…'))).toEqual([
      '/api/v3/account?recvWindow=5000&timestamp=…&signature=…',
      '/api/v3/openOrders?timestamp=…&signature=…',
      '/api/v3/order?symbol=LTCBTC&timestamp=…&signature=…',
    ]);
    for (const it of seen) {
      const [, query = '', signature = ''] = /\?(.*)&signature=(.*)$/.exec(it.url) ?? [];
      expectNow(Number(new URLSearchParams(query).get('timestamp')));
      const total = query + it.body.toString('latin1');
      expect(signature).toBe(hmac('NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP', total, 'hex'));
      expect(one(it, 'x-mbx-apikey')).toBe('KEY-ID');
    }
  });

  // https://docs.slack.dev/authentication/verifying-requests-from-slack
  test('as Slack documents for requests that Slack sends', async () => {
    const inject = {
      hmac: {
        algorithm: 'sha256',
        sign: 'v0:{timestamp}:{body}',
        headers: { 'X-Slack-Signature': 'v0={signature}', 'X-Slack-Request-Timestamp': '{timestamp}' },
      },
    };
    const credential: Credential = { type: 'api_key', value: '8f742231b10e8888abcd99yyyzzz85a5' };
    const { ask, seen } = await startInjectProxy(inject, { credential });
    await ask(protocol, { method: 'POST', fields: json, body: '{"\u00e9":"\u0000"}' });
    const [it] = seen;
    const base = Buffer.concat([Buffer.from(`v0:${one(it!, 'x-slack-request-timestamp')}:`), it!.body]);
    expect(one(it!, 'x-slack-signature')).toBe(`v0=${hmac('8f742231b10e8888abcd99yyyzzz85a5', base, 'hex')}`);
  });

  // https://learn.microsoft.com/azure/communication-services/tutorials/hmac-header-tutorial
  test('as Azure Communication Services documents', async () => {
    const inject = {
      hmac: {
        algorithm: 'sha256',
        secret: 'base64',
        encoding: 'base64',
        timestamp: 'http_date',
        sign: '{method}\n{target}\n{timestamp};{host};{body_sha256_base64}',
        headers: {
          'x-ms-date': '{timestamp}',
          'x-ms-content-sha256': '{body_sha256_base64}',
          Authorization: 'HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={signature}',
        },
      },
    };
    const { ask, seen, upstream } = await startInjectProxy(inject, {
      credential: { type: 'api_key', value: secretBytes.toString('base64') },
    });
    const path = '/identities?api-version=2021-03-07';
    await ask(protocol, {
      method: 'POST',
      path,
      fields: [...json, 'Authorization', 'HMAC-SHA256 mine'],
      body: '{"a":1}',
    });
    await ask(protocol, { method: 'DELETE', path });
    expect(seen).toHaveLength(2);
    for (const it of seen) {
      const date = one(it, 'x-ms-date');
      expect(date).toMatch(/^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/);
      expectNow(Date.parse(date));
      const hash = createHash('sha256').update(it.body).digest('base64');
      expect(one(it, 'x-ms-content-sha256')).toBe(hash);
      const signed = `${it.method}\n${it.url}\n${date};${upstream.authority};${hash}`;
      expect(one(it, 'authorization')).toBe(
        `HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=${hmac(secretBytes, signed, 'base64')}`,
      );
    }
  });

  test('with every template name, and with all other algorithms and encodings', async () => {
    const inject = {
      hmac: {
        algorithm: 'sha512',
        secret: 'hex',
        encoding: 'base64url',
        timestamp: 'iso8601',
        sign: '{{{method} {host} {path} {query} {content_type} {header:X-Mine} {header:X-None} {header:X-Nonce} {nonce} {body_sha256} {body_md5_base64}}}',
        headers: { 'X-Nonce': '{nonce}', 'X-At': '{timestamp}', 'X-Signed': '{signature}' },
      },
    };
    const { ask, seen, upstream } = await startInjectProxy(inject, {
      credential: { type: 'api_key', value: secretBytes.toString('hex').toUpperCase() },
    });
    const fields = [...json, 'X-Mine', 'as it is', 'X-Nonce', 'mine'];
    await ask(protocol, { method: 'PUT', path: '/a%2fb?x=%20&y', fields, body: '{}' });
    await ask(protocol, { method: 'PUT', path: '/a%2fb?x=%20&y', fields, body: '{}' });
    const nonces = seen.map((it) => one(it, 'x-nonce'));
    expect(nonces).toEqual([
      expect.stringMatching(/^[0-9a-f]{32}$/),
      expect.stringMatching(/^[0-9a-f]{32}$/),
    ]);
    expect(nonces[0]).not.toBe(nonces[1]);
    for (const it of seen) {
      const nonce = one(it, 'x-nonce');
      const [sha256, md5] = [
        createHash('sha256').update('{}').digest('hex'),
        createHash('md5').update('{}').digest('base64'),
      ];
      const signed = `{PUT ${upstream.authority} /a%2fb x=%20&y application/json as it is  ${nonce} ${nonce} ${sha256} ${md5}}`;
      expect(one(it, 'x-signed')).toBe(hmac(secretBytes, signed, 'base64url', 'sha512'));
      expect(one(it, 'x-at')).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    }
  });

  test.each<[string, string, Credential, string]>([
    ['hex', '{body}', pairOf('no-hex-at-all'), 'The secret of this grant is not written in hex'],
    ['base64', '{body}', pairOf('###'), 'The secret of this grant is not written in base64'],
    [
      'utf8',
      '{key}{body}',
      { type: 'api_key', value: 'secret-alone-0123' },
      'sends {key}, and its credential is a secret alone',
    ],
    [
      'utf8',
      '{body}',
      { type: 'headers', headers: [['X-A', 'own-0123456789']] },
      'its credential is fields of its own',
    ],
  ])('but is refused if the secret in %s for %s is invalid', async (secret, sign, credential, sentence) => {
    const inject = { hmac: { algorithm: 'sha1', secret, sign, headers: { 'X-Signed': '{signature}' } } };
    const { ask, seen, sidekey } = await startInjectProxy(inject, { credential });
    const answer = await ask(protocol);
    expect(answer.status).toBe(403);
    expect(problemOf(answer)).toMatchObject({
      code: 'policy_violation',
      detail: expect.stringContaining(sentence),
    });
    expect(seen).toEqual([]);
    for (const said of [answer.body, sidekey.logged(), JSON.stringify(await sidekey.audit())]) {
      expect(said).not.toMatch(/no-hex-at-all|###|secret-alone-0123|own-0123456789/);
    }
  });
});

const inHeader = (sign: string) => ({
  hmac: { algorithm: 'sha1', sign, headers: { 'X-Signed': '{signature}' } },
});
const secret: Credential = { type: 'api_key', value: 'a-secret-that-signs' };

test('a body that must be signed is buffered up to the limit', async () => {
  const options = { credential: secret, config: { limits: { signed_body_bytes: 1024 } } };
  const { ask, seen } = await startInjectProxy(inHeader('{body}'), options);
  const answer = await ask('HTTP/1.1', { method: 'POST', body: 'x'.repeat(1025), isChunked: true });
  expect(answer.status).toBe(413);
  expect(problemOf(answer)).toMatchObject({
    code: 'body_too_large',
    hint: expect.stringContaining('limits.signed_body_bytes'),
  });
  expect(seen).toEqual([]);
});

test('a body that is not signed is streamed', async () => {
  const begun = Promise.withResolvers<string>();
  const upstream = await startUpstream((request, response) => {
    begun.resolve(String(request.headers['x-signed']));
    void requestBody(request).then((body) => response.end(body));
  });
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'acme' } },
    config: {
      providers: { acme: { audience: [upstream.authority], inject: inHeader('{method} {target}') } },
    },
  });
  await sidekey.grant([upstream.authority], { credential: secret });
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(`PUT /a HTTP/1.1\r\nHost: ${upstream.authority}\r\nTransfer-Encoding: chunked\r\n\r\n`);
  expect(await begun.promise).toBe(hmac('a-secret-that-signs', 'PUT /a', 'hex', 'sha1'));
  client.send('5\r\nhello\r\n0\r\n\r\n');
  expect((await client.response()).body).toBe('hello');
});

test('a request in which a signed value appears twice is not signed', async () => {
  const { ask, seen } = await startInjectProxy(inHeader('{header:X-Mine}'), { credential: secret });
  const answer = await ask('HTTP/1.1', { fields: ['X-Mine', '1', 'x-mine', '2'] });
  expect(problemOf(answer).detail).toContain('x-mine more than once');
  expect(seen).toEqual([]);
});
