import { z } from 'zod';
import { reachable } from './format.ts';
import { name, text, userName } from './members.ts';
import { changing, type Changing, type Opened } from './operation.ts';
import { type OutgoingRequest, outgoingRequest, textBody } from './outgoing-request.ts';
import { ask, envelopeOf, wholeBody } from './proxied-request.ts';
import { assertMayAsk, leaseForRequest, recordedBy } from './request-rights.ts';

/** Requests that a program asks Sidekey to send. */

export const sendRequest = changing({
  id: 'request.send',
  summary: "Send one request with a grant's credential, through the same checks as any other.",
  scope: 'requests:send',
  input: z.strictObject({
    method: z.string().max(32).optional(),
    url: text,
    headers: z.array(text).optional().describe('`Name: value`.'),
    body: z.string().optional(),
    grant: text.optional(),
    user: userName.optional(),
    agent: name.optional().describe('Act as this agent, under a lease that ends with the request.'),
    reason: text.optional(),
  }),
  output: z.looseObject({ status: z.int() }),
  check: (input) => void outgoingRequest(input, null),
  async run(parts, { body, agent = null, ...written }) {
    const { signal = new AbortController().signal } = parts;
    const source = body === undefined ? null : textBody(body);
    const request = { ...outgoingRequest(written, source), agent, signal };
    return withAnswer(parts, request, async ({ answer: { response, status, client }, hop }) => {
      const whole = { bytes: await wholeBody(response, signal) };
      const recorded = await recordedBy(client, parts);
      return { url: hop.url, status, headers: response.headers, body: whole, recorded };
    });
  },
  answer: envelopeOf,
});

/** A request, its sender, and a signal that cancels it. */
interface RequestOfCaller extends OutgoingRequest {
  /** Null: anonymous. */
  readonly agent: string | null;
  /** True: redirects are followed. Default: returned. */
  readonly follows?: boolean;
  /** Aborts when the caller leaves. */
  readonly signal: AbortSignal;
}

/**
 * Sends a request through the proxy of this process, and passes the answer to `use`. When `use` ends, what it
 * did not read is discarded, and the lease of the agent is revoked.
 *
 * @throws SidekeyError of a refusal; the reason of `signal`; as `use`
 */
export async function withAnswer<Result>(
  { listening, ...parts }: Opened & Pick<Changing, 'listening' | 'now'>,
  { agent, follows = false, signal, ...request }: RequestOfCaller,
  use: (answered: Awaited<ReturnType<typeof ask>>) => Promise<Result>,
): Promise<Result> {
  if (listening === null) throw new Error('only a process that serves a proxy sends requests through it');
  const { host, port } = await listening;
  assertMayAsk(parts.config, agent);
  const lease = agent === null ? null : await leaseForRequest(parts, agent, parts.now);
  try {
    const endpoint = { host: reachable(host), port, userInfo: lease?.secret ?? '' };
    const answered = await ask(endpoint, request, follows, signal);
    try {
      return await use(answered);
    } finally {
      const { response } = answered.answer;
      if (!response.complete) response.socket.resetAndDestroy();
    }
  } finally {
    await lease?.revoke();
  }
}
