/**
 * A hostile upstream, or one that was made to answer twice, puts bytes of one answer before the next. A
 * connection to an upstream serves one client after the other: who gets that next answer is somebody else.
 */
import { once } from 'node:events';
import type { TLSSocket } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { hostileResponses, type HostileResponse } from '../fixtures/smuggling/hostile-responses.ts';
import { grantedRaw, onHeads } from '../support/granted.ts';
import { openTunnel, type RawClient } from '../support/raw-client.ts';

/** Result of a response. */
interface Outcome {
  readonly told: string;
  /** True if its connection stayed open, before any other request. */
  readonly kept: boolean;
  /** Responses to another client, and to the next request of the first one. */
  readonly others: readonly string[];
}

/** The status, and the body or, of a refusal, the reason. */
async function answerTo(client: RawClient, method: string): Promise<string> {
  for (;;) {
    const answer = await client.response(method);
    if (answer.status < 200) continue;
    return `${answer.status} ${answer.status === 502 && method !== 'HEAD' ? answer.reason : answer.body}`;
  }
}

async function startSetup() {
  let next: HostileResponse | null = null;
  let hostile: TLSSocket | undefined;
  const served: TLSSocket[] = [];
  const { upstream, sidekey } = await grantedRaw((socket) => {
    onHeads(socket, (head) => {
      const [method = '', path = ''] = head.split(' ');
      served.push(socket);
      const row = next;
      next = null;
      if (row === null)
        socket.write(
          `HTTP/1.1 200 OK\r\nContent-Length: ${path.length}\r\n\r\n${method === 'HEAD' ? '' : path}`,
        );
      else void say((hostile = socket), row);
    });
  });
  const ask = (client: RawClient, path: string, method = 'GET') => {
    client.send(`${method} ${path} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    return answerTo(client, method).catch(() => 'cut');
  };
  return {
    ask,
    open: () => openTunnel(sidekey, upstream.authority),
    async attack(row: HostileResponse): Promise<Outcome> {
      const [first, second] = [await this.open(), await this.open()];
      next = row;
      const told = await ask(first, '/first', row.method);
      const socket = hostile!;
      // A connection that must close has closed by then; one that wrongly stays open ends the wait by time.
      if (!row.kept && !socket.destroyed) await Promise.race([once(socket, 'close'), aWhile()]);
      const kept = !socket.destroyed;
      const others = [await ask(second, '/second')];
      if (told !== 'cut') others.push(await ask(first, '/again'));
      const isSame = served.at(-others.length) === socket;
      // A response that was cut leaves a part of itself.
      const left = second.received() + (told === 'cut' ? '' : first.received());
      if (left !== '') others.push(`and ${left}`);
      for (const client of [first, second]) client.socket.destroy();
      return { told, kept: kept && isSame, others };
    },
  };
}

async function say(socket: TLSSocket, { says, lastly }: HostileResponse): Promise<void> {
  for (const piece of says) {
    if (!socket.destroyed) await new Promise((resolve) => socket.write(piece, 'latin1', resolve));
  }
  if (lastly === 'end') socket.end();
  if (lastly === 'destroy') socket.destroy();
}

const aWhile = () => new Promise((resolve) => setTimeout(resolve, 2_000).unref());

describe('a response with another response hidden in it', () => {
  test('reaches only the client of its request', { timeout: 60_000 }, async () => {
    const setup = await startSetup();
    const outcomes: Record<string, Outcome> = {};
    const expected: Record<string, Outcome> = {};
    for (const row of hostileResponses) {
      const { name, told, kept, method = 'GET' } = row;
      const others = told === 'cut' ? ['200 /second'] : ['200 /second', '200 /again'];
      expected[`${method}: ${name}`] = { told, kept, others };
      outcomes[`${method}: ${name}`] = await setup.attack(row);
    }
    expect(outcomes).toEqual(expected);
    expect(Object.keys(outcomes)).toHaveLength(hostileResponses.length);
  });
});
