/** A proxy whose rules require an approval for DELETE, a webhook receiver, and a client that waits. */
import type { IncomingMessage } from 'node:http';
import type { QuestionMessage } from '../../src/agents/approvals/announce.ts';
import { openTunnel, type RawClient } from './raw-client.ts';
import { requestBody } from './request-body.ts';
import { startSidekey, type TestSidekey } from './sidekey.ts';
import { startUpstream } from './upstream.ts';

/** The messages that the webhook receiver got. */
export interface Told {
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  readonly message: QuestionMessage;
}

export interface ApprovalProxy {
  readonly sidekey: TestSidekey;
  /** Requests that the upstream received: `DELETE /x`. */
  readonly seen: readonly string[];
  /** Sends `DELETE /x` with further fields; the response follows when the approval is answered. */
  readonly send: (request: string, fields?: readonly string[], body?: string) => Promise<RawClient>;
  /** Resolves with the message to the webhook with this number. */
  readonly told: (count?: number) => Promise<Told>;
}

/** Selects the grant of alice. */
const ofAlice = `Proxy-Authorization: Basic ${Buffer.from('+user=alice:').toString('base64')}`;

/** Starts the proxy. @param receives status of the receiver's responses */
export async function startApprovalProxy({
  receives = () => 200,
  approvals = {},
  admin = { listen: '127.0.0.1:0' },
}: {
  readonly receives?: () => number;
  readonly approvals?: object;
  readonly admin?: object;
} = {}): Promise<ApprovalProxy> {
  const seen: string[] = [];
  const upstream = await startUpstream((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    response.end('done');
  });
  const all: Told[] = [];
  let came = Promise.withResolvers<void>();
  const chat = await startUpstream((request, response) => {
    void requestBody(request).then((body) => {
      all.push({ headers: request.headers, body, message: JSON.parse(body) as QuestionMessage });
      response.writeHead(receives()).end();
      came.resolve();
      came = Promise.withResolvers();
    });
  });
  const rules = [{ name: 'deletes', methods: ['DELETE'], outcome: 'approve' }];
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'acme', default: 'allow', rules } },
    config: { admin, approvals: { webhook: { url: `${chat.url}/hook` }, ...approvals } },
  });
  await sidekey.grant([upstream.authority], { user: 'alice' });
  return {
    sidekey,
    seen,
    async send(request, fields = [], body = '') {
      const client = await openTunnel(sidekey, upstream.authority, { fields: [ofAlice] });
      const head = [`${request} HTTP/1.1`, `Host: ${upstream.authority}`, ...fields];
      if (body !== '') head.push(`Content-Length: ${Buffer.byteLength(body)}`);
      client.send(`${head.join('\r\n')}\r\n\r\n${body}`);
      return client;
    },
    async told(count = 1) {
      for (;;) {
        const one = all[count - 1];
        if (one !== undefined) return one;
        await came.promise;
      }
    },
  };
}
