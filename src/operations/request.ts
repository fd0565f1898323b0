import { z } from 'zod';
import { reachable } from './format.ts';
import { name, text, userName } from './members.ts';
import { changing } from './operation.ts';
import { outgoingRequest, textBody, type WrittenRequest } from './outgoing-request.ts';
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
  check: (input) => void requestOf(input),
  async run({ listening, ...parts }, input) {
    const { agent = null } = input;
    if (listening === null) throw new Error('only a process that serves a proxy sends requests through it');
    const { host, port } = await listening;
    assertMayAsk(parts.config, agent);
    const lease = agent === null ? null : await leaseForRequest(parts, agent, parts.now);
    const { signal } = new AbortController();
    try {
      const endpoint = { host: reachable(host), port, userInfo: lease?.secret ?? '' };
      const { answer, hop } = await ask(endpoint, requestOf(input), false, signal);
      const { response, status, client } = answer;
      const body = { bytes: await wholeBody(response, signal) };
      const recorded = await recordedBy(client, parts);
      return { url: hop.url, status, headers: response.headers, body, recorded };
    } finally {
      await lease?.revoke();
    }
  },
  answer: envelopeOf,
});

function requestOf({ body, ...written }: WrittenRequest & { body?: string | undefined }) {
  return outgoingRequest(written, body === undefined ? null : textBody(body));
}
