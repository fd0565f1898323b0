/**
 * Responses that deviate from RFC 9112, as servers send them: what curl reads, it reads through the proxy
 * too.
 */
import type { TLSSocket } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { serverResponses } from '../../fixtures/responses/server-responses.ts';
import { curlEach, curlMissing } from '../../support/curl.ts';
import { grantedRaw, onHeads } from '../../support/granted.ts';

type Say = (socket: TLSSocket, text: string) => Promise<void>;

const atOnce: Say = (socket, text) => new Promise((resolve) => socket.write(text, 'latin1', () => resolve()));

const byteByByte: Say = async (socket, text) => {
  // Long values are not worth their time.
  const size = text.length > 500 ? 97 : 1;
  for (let at = 0; at < text.length; at += size) await atOnce(socket, text.slice(at, at + size));
};

/** Starts an upstream of which path `/N` gives row N of the table. */
async function startServer() {
  let say = atOnce;
  const { upstream, sidekey } = await grantedRaw((socket) => {
    onHeads(socket, (head) => {
      const index = Number(/^\S+ \/([0-9]+)/.exec(head)![1]);
      void say(socket, serverResponses[index]!.says).then(() => socket.end());
    });
  });
  const urls = serverResponses.map(
    ({ method }, index) =>
      [
        `${upstream.url}/${index}`,
        ...(method === 'HEAD' ? ['--head', '--output', '/dev/null'] : []),
      ] as const,
  );
  return {
    sidekey,
    directly: () => curlEach(urls, ['--resolve', `${upstream.authority}:127.0.0.1`]),
    through: (how: Say) => {
      say = how;
      return curlEach(urls, ['--proxy', `http://127.0.0.1:${sidekey.port}`]);
    },
  };
}

/** A refusal in its problem document, which has a sentence about the response; of a HEAD, only its status. */
const refusal = /^502 (?:$|\{.*"code":"upstream_protocol","detail":"The response [^"]+\.")/s;
const cut = 'curl 18';

describe.skipIf(curlMissing)('a response in one of the shapes of the table', () => {
  test('is for curl the same through the proxy as without it, or refused', { timeout: 180_000 }, async () => {
    const { sidekey, directly, through } = await startServer();
    const [direct, whole, split] = [await directly(), await through(atOnce), await through(byteByByte)];
    let same = 0;
    for (const [index, { name, told, refused, differs }] of serverResponses.entries()) {
      const results = [whole[index]!, split[index]!];
      for (const result of results) {
        if (refused === undefined) expect([name, result]).toEqual([name, told === 'cut' ? cut : told]);
        else if (result !== cut) expect([name, result]).toEqual([name, expect.stringMatching(refusal)]);
      }
      // Newer versions of curl may refuse more.
      const comparable = refused === undefined && differs === undefined && !direct[index]!.startsWith('curl');
      if (comparable) expect([name, whole[index]]).toEqual([name, direct[index]]);
      if (comparable) same += 1;
    }
    expect(same).toBeGreaterThanOrEqual(60);
    expect(sidekey.logged()).toContain('a response was cut: The response has a chunk that does not end');
  });
});
