/** A server answers before it has read the request body, and closes: the client gets the answer. */
import type { Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { openClient, openTunnel, type RawClient } from '../../support/raw-client.ts';
import { startSidekey } from '../../support/sidekey.ts';
import { startRawPlainUpstream, startRawUpstream } from '../../support/upstream.ts';
import { earlyAnswers } from './exchange-table.ts';

const size = 3_000_000;
const tries = 5;

/** Returns a server that answers at the first bytes, and resets the connection with the rest unread. */
function answerAtOnce(line: string, fields: string, body: string) {
  return (socket: Socket) => {
    socket.once('data', () => {
      socket.pause();
      socket.write(`HTTP/1.1 ${line}\r\nConnection: close\r\n${fields}${body}`, () => socket.destroy());
    });
  };
}

async function started(scheme: 'http' | 'https', answer: (socket: Socket) => void) {
  const upstream = await (scheme === 'http' ? startRawPlainUpstream(answer) : startRawUpstream(answer));
  const { authority } = upstream;
  const sidekey = await startSidekey({
    domains: { [authority]: { grant: 'acme', allow_plain_http: true } },
  });
  await sidekey.grant([authority]);
  const open = () => (scheme === 'http' ? openClient(sidekey) : openTunnel(sidekey, authority));
  const target = scheme === 'http' ? `http://${authority}/` : '/';
  const post = (client: RawClient, framing: string, ...body: string[]) =>
    client.send(`POST ${target} HTTP/1.1\r\nHost: ${authority}\r\n${framing}\r\n\r\n`, ...body);
  return { open, post };
}

describe.each(['http', 'https'] as const)('an early answer over %s reaches the client', (scheme) => {
  test.each(earlyAnswers)('%s', async (line, fields) => {
    const { open, post } = await started(
      scheme,
      answerAtOnce(line, fields, 'Content-Length: 5\r\n\r\nearly'),
    );
    for (let i = 0; i < tries; i += 1) {
      const client = await open();
      post(client, `Content-Length: ${size}`, 'x'.repeat(size));
      expect(await client.response()).toMatchObject({ status: Number(line.slice(0, 3)), body: 'early' });
    }
  });

  test('also if the request body is chunked', async () => {
    const answer = answerAtOnce('413 Content Too Large', '', 'Content-Length: 5\r\n\r\nearly');
    const { open, post } = await started(scheme, answer);
    for (let i = 0; i < tries; i += 1) {
      const client = await open();
      post(client, 'Transfer-Encoding: chunked', 'f4240\r\n', 'x'.repeat(1_000_000), '\r\n');
      expect(await client.response()).toMatchObject({ status: 413, body: 'early' });
    }
  });
});

test('an early answer that its reset cuts is not taken for complete', async () => {
  const answer = answerAtOnce('413 Content Too Large', '', 'Content-Length: 9\r\n\r\nearly');
  const { open, post } = await started('http', answer);
  const client = await open();
  post(client, `Content-Length: ${size}`, 'x'.repeat(size));
  await expect(client.response()).rejects.toThrow();
});

test('without a byte of an answer, the failure of the write is reported', async () => {
  const { open, post } = await started('http', (socket) => {
    socket.once('data', () => socket.pause().destroy());
  });
  const client = await open();
  post(client, `Content-Length: ${size}`, 'x'.repeat(size));
  expect(await client.response()).toMatchObject({ status: 502, reason: 'upstream_unreachable' });
});
