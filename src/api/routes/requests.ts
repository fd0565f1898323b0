import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import type { IncomingMessage } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { withOrigin } from '../../audit/log.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { pause } from '../../lib/timers.ts';
import { optional } from '../../lib/text.ts';
import { requestWith } from '../../operations/outgoing-request.ts';
import { recordedBy } from '../../operations/request-rights.ts';
import { sendRequest, withAnswer } from '../../operations/request.ts';
import { type RawFields, responseFields } from '../../proxy/http/fields.ts';
import type { BodySource } from '../../proxy/upstream/through-proxy.ts';
import { operationRoute } from '../operation-route.ts';
import type { ServiceParts } from '../parts.ts';
import { type AnyRoute, type Given, originOf, route } from '../route.ts';

/** Routes that send one request: one as JSON, one as streams whose heads are JSON in one field each. */

const head = sendRequest.input.omit({ body: true }).extend({
  method: z.string().max(32),
  headers: optional(z.array(z.tuple([z.string(), z.string()])), 'Names and values, a byte a character.'),
  follow: optional(z.boolean(), 'Follow redirects, each checked like another request.'),
});

/** Characters of `Sidekey-Answer`: many clients read no head of more than 16 KiB. */
const maxAnswerHead = 12_288;

/** Milliseconds between two checks whether the caller may still use the route. */
const checkEveryMs = 1_000;

type Head = z.output<typeof head>;

/** Returns the body of a request; null: none. */
function uploadOf(incoming: IncomingMessage, method: string): BodySource | null {
  const { 'content-length': given, 'transfer-encoding': coding } = incoming.headers;
  const length = coding === undefined ? Number(given ?? 0) : null;
  // Clients announce an empty body for every POST without one.
  if (length === 0 && (given === undefined || method === 'GET' || method === 'HEAD')) return null;
  // An upstream may answer before it has read the body. The connection is needed for the answer.
  return { length, repeatable: false, open: () => incoming.iterator({ destroyOnReturn: false }) };
}

async function relay(
  { body, caller, signal, messages: { incoming, outgoing } }: Given<never, Head>,
  parts: ServiceParts,
): Promise<Response> {
  const { headers: fields = [], agent = null, follow: follows = false, ...written } = body;
  const upload = uploadOf(incoming, written.method);
  const type = upload === null ? undefined : incoming.headers['content-type'];
  const request = requestWith({ ...written, fields, type }, upload);
  const opened = { ...parts, config: await parts.config(), audit: withOrigin(parts.audit, originOf(caller)) };
  incoming.emit('streamed');
  try {
    await withAnswer(
      opened,
      { ...request, agent, follows, signal },
      async ({ answer: { response, status, client }, hop }) => {
        const recorded = await recordedBy(client, opened);
        const { grant = null, exchange = null } = recorded ?? {};
        const url = hop === request.hop ? undefined : hop.url;
        const coding = written.method === 'HEAD' ? undefined : response.headers['content-encoding'];
        outgoing.writeHead(200, {
          'content-type': 'application/octet-stream',
          ...(coding !== undefined && { 'content-encoding': coding }),
          'sidekey-answer': answerHead({ url, status, grant, exchange }, response.rawHeaders),
        });
        outgoing.flushHeaders();
        await pipeline(response, outgoing, { end: false });
      },
    );
    outgoing.end();
  } catch (error) {
    // Closes the connection before the end of the body, so that the client sees an incomplete answer.
    if (!outgoing.headersSent) throw error;
    outgoing.destroy();
  }
  return RESPONSE_ALREADY_SENT;
}

/** Returns the head of an answer in visible ASCII. Leaves out its longest fields if it is too large. */
function answerHead(facts: object, raw: RawFields): string {
  const sent = responseFields(raw, false);
  const all = Array.from({ length: sent.length / 2 }, (_, at) => sent.slice(2 * at, 2 * at + 2));
  const left = new Set(all);
  const dropped = new Set<string>();
  let excess = asciiJson({ ...facts, headers: all, dropped: [] }).length - maxAnswerHead;
  for (const field of all.toSorted((a, b) => b.join('').length - a.join('').length)) {
    if (excess <= 0) break;
    const [name = ''] = field;
    left.delete(field);
    dropped.add(name);
    excess -= asciiJson(field).length - asciiJson(name).length;
  }
  if (excess > 0) throw new SidekeyError('upstream_protocol', 'The head of the response is too large.');
  return asciiJson({ ...facts, headers: [...left], ...(dropped.size > 0 && { dropped: [...dropped] }) });
}

function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[^ -~]/g,
    (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

const relayRequest = route<never, Head>({
  method: 'post',
  path: '/v2/relay',
  id: 'relayRequest',
  tag: 'Clients',
  summary: 'Stream one request and its answer, with the credential of a grant.',
  scope: sendRequest.scope,
  head,
  media: 'application/octet-stream',
  isRepeatable: true,
  handle: relay,
});

/** Returns a route that gives up a request within a second after its caller has lost the right to send it. */
function whileAllowed(row: AnyRoute): AnyRoute {
  return {
    ...row,
    async handle(given, parts) {
      const stop = new AbortController();
      const signal = AbortSignal.any([given.signal, stop.signal]);
      const watch = async () => {
        do await pause(parts.timers, checkEveryMs, signal);
        while (!signal.aborted && (await given.isStillAllowed()));
        stop.abort(
          new SidekeyError('api_auth_required', `${given.caller.name} may no longer send requests.`),
        );
      };
      void watch();
      return row.handle({ ...given, signal }, parts).finally(() => stop.abort());
    },
  };
}

export const requestRoutes: readonly AnyRoute[] = [
  operationRoute(sendRequest, 'POST /v2/requests', { id: 'sendRequest', command: 'fetch' }),
  relayRequest,
].map(whileAllowed);
