import type { IncomingMessage, ServerResponse } from 'node:http';
import { maxBodyBytes, mediaType, readBody } from './body.ts';
import type { Bearer, BearerCheck } from './bearer.ts';
import { bodyTooLarge, methodNotAllowed, Refusal, replyJson } from './reply.ts';
import { parseChange, parseFilter, parseNewTicket } from './ticket-input.ts';
import type { Tickets } from './tickets.ts';

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
  readonly bearer: Bearer;
  readonly tickets: Tickets;
}

interface Route {
  readonly scope: string;
  readonly handle: (exchange: Exchange, id: number) => void | Promise<void>;
}

type Methods = Readonly<Record<string, Route>>;

const list: Route = {
  scope: 'read:tickets',
  handle({ response, query, bearer, tickets }) {
    const found = tickets.list(parseFilter(query, bearer.user));
    replyJson(response, 200, { tickets: found, total: found.length });
  },
};

const show: Route = {
  scope: 'read:tickets',
  handle({ response, tickets }, id) {
    replyJson(response, 200, tickets.get(id) ?? refuseUnknown(id));
  },
};

const create: Route = {
  scope: 'write:tickets',
  async handle({ request, response, bearer, tickets }) {
    const input = parseNewTicket(await jsonBody(request), bearer.user);
    const ticket = tickets.create({ ...input, reporter: bearer.user ?? bearer.client });
    replyJson(response, 201, ticket, { location: `/tickets/${ticket.id}` });
  },
};

const change: Route = {
  scope: 'write:tickets',
  async handle({ request, response, bearer, tickets }, id) {
    const input = parseChange(await jsonBody(request), bearer.user);
    replyJson(response, 200, tickets.change(id, input) ?? refuseUnknown(id));
  },
};

const collection: Methods = { GET: list, HEAD: list, POST: create };
const member: Methods = { GET: show, HEAD: show, PATCH: change };

/** Serves `/tickets` and `/tickets/ID`. Throws a `Refusal` for whatever it will not do. */
export async function ticketsApi(
  tickets: Tickets,
  check: BearerCheck,
  request: IncomingMessage,
  response: ServerResponse,
  target: { readonly path: string; readonly query: URLSearchParams },
): Promise<void> {
  const [, segment] = /^\/tickets(?:\/([^/]+))?$/.exec(target.path) ?? refuseUnknownPath(target.path);
  const methods = segment === undefined ? collection : member;
  const method = request.method ?? '';
  const route = Object.hasOwn(methods, method) ? methods[method] : undefined;
  if (route === undefined) throw methodNotAllowed(method, Object.keys(methods));
  const bearer = await check(request, route.scope);
  const id = segment === undefined ? 0 : parseId(segment);
  await route.handle({ request, response, query: target.query, bearer, tickets }, id);
}

function parseId(segment: string): number {
  if (/^[1-9]\d{0,14}$/.test(segment)) return Number(segment);
  throw new Refusal(400, 'invalid_request', 'A ticket id is a whole number above zero.');
}

async function jsonBody(request: IncomingMessage): Promise<Buffer> {
  if (!['application/json', 'application/merge-patch+json'].includes(mediaType(request))) {
    throw new Refusal(415, 'unsupported_media_type', 'Send the ticket as application/json.');
  }
  const body = await readBody(request);
  if (body === null) throw bodyTooLarge(maxBodyBytes);
  return body;
}

function refuseUnknown(id: number): never {
  throw new Refusal(404, 'not_found', `There is no ticket ${id}.`);
}

function refuseUnknownPath(path: string): never {
  throw new Refusal(404, 'not_found', `There is nothing at ${path}.`);
}
