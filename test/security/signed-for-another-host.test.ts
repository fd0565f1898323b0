/**
 * A client that may call one host must not get signatures that are meant for another, nor have anything sent
 * whose signature does not cover it.
 */
import { describe, expect, test } from 'vitest';
import type { Credential } from '../../src/domain/credential.ts';
import { openTunnel, problemOf } from '../support/raw-client.ts';
import { startSidekey } from '../support/sidekey.ts';
import { startUpstream } from '../support/upstream.ts';

const keys: Credential = {
  type: 'aws',
  accessKeyId: 'AKIAREALREALREALREAL',
  secretAccessKey: 'the/real+secret/0123456789',
  sessionToken: null,
  region: null,
};
const none = '0'.repeat(64);
const signedFor = (scope: string) =>
  `Authorization: AWS4-HMAC-SHA256 Credential=AKIAPLACEHOLDER/20260101/${scope}/aws4_request, SignedHeaders=host, Signature=${none}\r\n`;

interface Seen {
  readonly url: string;
  readonly authorization: string;
  readonly body: string;
}

async function setup(service = 's3') {
  const seen: Seen[] = [];
  const upstream = await startUpstream((request, response) => {
    let body = '';
    request.setEncoding('latin1').on('data', (text: string) => (body += text));
    request.on('end', () => {
      seen.push({ url: request.url ?? '', authorization: request.headers.authorization ?? '', body });
      response.end('ok');
    });
  });
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'acme' } },
    config: {
      providers: {
        acme: { audience: [upstream.authority], inject: { aws_sigv4: { service, region: 'eu-west-1' } } },
      },
    },
  });
  await sidekey.grant([upstream.authority], { credential: keys });
  const client = await openTunnel(sidekey, upstream.authority);
  return {
    seen,
    sidekey,
    client,
    ask: async (head: string, body = '') => {
      client.send(`${head.replace('\r\n', `\r\nHost: ${upstream.authority}\r\n`)}\r\n${body}`);
      return client.response();
    },
  };
}

describe('a signed request', () => {
  test.each(['iam/eu-west-1', 'eu-west-1/iam', 'us-east-1/s3'])('for %s is not sent', async (scope) => {
    const { ask, seen, sidekey } = await setup();
    const answer = await ask(`GET /key HTTP/1.1\r\n${signedFor(scope)}`);
    expect(answer.status).toBe(403);
    expect(problemOf(answer).code).toBe('policy_violation');
    expect(seen).toEqual([]);
    expect(JSON.stringify(await sidekey.audit())).not.toContain('AKIA');
  });

  test('for its host is sent with our signature and without the client’s', async () => {
    const { ask, seen } = await setup();
    expect((await ask(`GET /key HTTP/1.1\r\n${signedFor('eu-west-1/s3')}`)).status).toBe(200);
    expect(seen[0]?.authorization).toContain('Credential=AKIAREALREALREALREAL/');
    expect(seen[0]?.authorization).not.toContain(none);
  });

  test('with two signatures is not sent', async () => {
    const { ask, seen } = await setup();
    const answer = await ask(
      `GET /key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20260101%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Date=20990101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=${none} HTTP/1.1\r\n${signedFor('eu-west-1/s3')}`,
    );
    expect(answer.status).toBe(403);
    expect(seen).toEqual([]);
  });
});

describe('a signed body', () => {
  const chunks = 'x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\r\n';
  const chunk = `5;chunk-signature=${none}\r\nhello\r\n`;
  const last = `0;chunk-signature=${none}\r\n\r\n`;
  const put = (body: string) => `PUT /key HTTP/1.1\r\n${chunks}Content-Length: ${body.length}\r\n`;

  test('in chunks loses the client’s chunk signatures', async () => {
    const { ask, seen } = await setup();
    expect((await ask(put(chunk + last), chunk + last)).status).toBe(200);
    expect(seen[0]?.body).toHaveLength(chunk.length + last.length);
    expect(seen[0]?.body).not.toContain(none);
    expect(seen[0]?.body).toContain('\r\nhello\r\n');
  });

  test.each([
    ['is not in chunks', 'hello'],
    ['hides more behind the last chunk', `${last}${chunk}`],
    ['has a chunk with a wrong length', `3;chunk-signature=${none}\r\nhello\r\n${last}`],
  ])('that %s never becomes a complete request', async (_, body) => {
    const { ask, seen } = await setup();
    const answer = await ask(put(body), body);
    expect(answer.status).toBe(400);
    expect(problemOf(answer).detail).toContain('aws-chunked');
    expect(seen).toEqual([]);
  });

  test('for a service other than S3 is read whole and signed by its hash', async () => {
    const { ask, client, seen } = await setup('sqs');
    const asked = await ask('POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n');
    expect(asked.status).toBe(100);
    client.send('{}');
    expect((await client.response()).status).toBe(200);
    expect(seen[0]?.body).toBe('{}');
    expect(seen[0]?.authorization).toContain('/eu-west-1/sqs/aws4_request');
  });
});

test('signing keys are not sent if the provider is configured for a bearer token', async () => {
  const seen: unknown[] = [];
  const upstream = await startUpstream((request, response) => {
    seen.push(request.headers);
    response.end();
  });
  const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme' } } });
  await sidekey.grant([upstream.authority], { credential: keys });
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
  const answer = await client.response();
  expect(answer.status).toBe(403);
  expect(answer.body).not.toContain('real+secret');
  expect(seen).toEqual([]);
});
