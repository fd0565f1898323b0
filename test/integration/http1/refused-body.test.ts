/** A request that is refused before its body has come: the next one on its connection is served. */
import { describe, expect, test } from 'vitest';
import { openTunnel } from '../../support/raw-client.ts';
import { startSidekey } from '../../support/sidekey.ts';
import { startUpstream } from '../../support/upstream.ts';

const unread = [{ methods: ['GET'] }];
const read = [{ paths: ['/graphql'], graphql: { types: ['query'] } }, { methods: ['GET'] }];

describe.each([
  ['was not read', unread],
  ['was read in part', read],
])('a refusal of a request whose body %s', (_how, rules) => {
  test.each([10, 100_000, 300_000, 2_000_000])(
    'leaves the connection usable, with %d bytes',
    async (size) => {
      const upstream = await startUpstream((_request, response) => response.end('ok'));
      const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme', rules } } });
      await sidekey.grant([upstream.authority]);
      const client = await openTunnel(sidekey, upstream.authority);
      const host = `Host: ${upstream.authority}\r\n`;
      client.send(
        `POST /graphql HTTP/1.1\r\n${host}Content-Type: application/json\r\nContent-Length: ${size}\r\n\r\n`,
        'x'.repeat(size),
      );
      expect((await client.response()).status).toBe(403);
      client.send(`GET /next HTTP/1.1\r\n${host}\r\n`);
      expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
    },
  );
});
