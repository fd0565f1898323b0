import { describe, expect, test } from 'vitest';
import { curl, curlMissing } from '../../support/curl.ts';
import { openFrames } from '../../support/frame-client.ts';
import { granted } from '../../support/granted.ts';
import { block, endHeaders, endStream, frame, frameType } from '../../support/http2-frames.ts';
import { openTunnel, problemOf } from '../../support/raw-client.ts';

/** An upstream that says what was asked, and a proxy. */
async function place() {
  const asked: (string | undefined)[] = [];
  const it = await granted((request, response) => {
    asked.push(request.url);
    response.end('ok');
  });
  return { ...it, asked };
}

const refusal = {
  code: 'bad_request',
  detail: 'The request has a target with a byte beyond ASCII that is not percent-encoded.',
  hint: 'send text in UTF-8, each byte beyond ASCII as %XX; curl does so by --get --data-urlencode',
};

/** Bytes of UTF-8, one character each. */
const raw = Buffer.from('é').toString('latin1');

describe.each([
  ['the query', `/search?q=caf${raw}`],
  ['the path', `/caf${raw}`],
  ['the query, in Latin-1', '/search?q=caf\xe9'],
])('a non-ASCII byte in %s is refused with the same message', (_where, target) => {
  test('over HTTP/1.1', async () => {
    const { sidekey, upstream, asked } = await place();
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET ${target} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    const answer = await client.response();
    expect([answer.status, problemOf(answer)]).toMatchObject([400, refusal]);
    expect(asked).toEqual([]);
  });

  test('over HTTP/2', async () => {
    const { sidekey, upstream, asked } = await place();
    const client = await openFrames(sidekey, upstream.authority);
    const head = block(client.fields({ ':path': target }));
    await client.send(frame('headers', 1, endHeaders | endStream, head));
    const body = await client.frame((it) => it.type === frameType.data && it.stream === 1);
    expect(JSON.parse(body.payload.toString())).toMatchObject(refusal);
    expect(asked).toEqual([]);
  });
});

test.skipIf(curlMissing).each(['--http1.1', '--http2'])(
  'curl %s gets the same message, and its percent-encoded request is forwarded',
  async (version) => {
    const { sidekey, upstream, asked } = await place();
    const options = [version, '--proxy', sidekey.url, '--cacert', sidekey.caFile];
    const refused = await curl(...options, `${upstream.url}/search?q=café`);
    expect(refused).toMatchObject({ status: 400, body: expect.stringContaining('data-urlencode') });
    const answered = await curl(...options, '--get', '--data-urlencode', 'q=café', `${upstream.url}/search`);
    expect(answered.status).toBe(200);
    expect(asked).toEqual([expect.stringMatching(/^\/search\?q=caf%c3%a9$/i)]);
  },
);
