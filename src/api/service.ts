import { getRequestListener, type HttpBindings } from '@hono/node-server';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { type Context, Hono } from 'hono';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { z } from 'zod';
import { refusalOf } from '../proxy/http/problem.ts';
import { SidekeyError } from '../lib/errors.ts';
import { asMembers } from '../lib/hint.ts';
import { hintAnswer } from '../operations/members.ts';
import { type FailureCode, failures } from '../lib/failures.ts';
import { bodyOf, checked, jsonOf } from './body.ts';
import { addressOf, type Caller } from './caller.ts';
import { connectPages } from './connect/pages.ts';
import { etagOf, preconditionOf } from './etag.ts';
import { createIdempotency } from './idempotency.ts';
import { oidcSignIn } from './oidc.ts';
import { openApiDocument } from './openapi.ts';
import { type Page, pageOf, pageQuery } from './paging.ts';
import type { ServiceParts } from './parts.ts';
import type { AnyRoute, Given } from './route.ts';
import { readingOf, routes } from './routes.ts';
import { addPages } from './pages.ts';
import { addProbes, probePaths } from './probes.ts';
import { addSignIn } from './sign-in.ts';

/** The service on the admin listener: the API, and the pages for browsers. */
export interface Service {
  /** Handles a request, and emits `authenticated` on it when its caller is identified. Never rejects. */
  readonly handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>;
}

/** Authenticates a request. @throws SidekeyError */
type Authenticate = (headers: Headers, address: string, method: string) => Promise<Caller>;

type Bindings = { Bindings: HttpBindings };

/** Header fields of each answer: it is not cached, framed, sniffed, or read by pages of other origins. */
const guards: Readonly<Record<string, string>> = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  // With "no-referrer", browsers send no Origin with a form, so a form of another page could not be refused.
  'referrer-policy': 'same-origin',
  'x-content-type-options': 'nosniff',
};

/** Creates the service. It opens nothing. */
export function createService(parts: ServiceParts, authenticate: Authenticate): Service {
  const app = new Hono<Bindings>();
  const serve = servingOf(parts, authenticate);
  app.use(async (context, next) => {
    for (const [name, value] of Object.entries(guards)) context.env.outgoing.setHeader(name, value);
    // Probes name an address, and send no cookie that another page could use.
    if (!probePaths.includes(context.req.path)) assertHost(context, parts.url());
    await next();
  });
  for (const row of routes) {
    // Made once: it takes longer than the rest of a request.
    const query = row.list === undefined ? row.query : pageQuery(row.query);
    const path = row.path.replace(/\{(\w+)\}/g, ':$1');
    app.on(row.method.toUpperCase(), path, (context) => serve(row, query, context));
  }
  addProbes(app, parts, (context) => callerOf(context, authenticate));
  app.route('/', oidcSignIn(parts));
  addSignIn(app, parts);
  app.route('/', connectPages(parts));
  addPages(app as unknown as Hono);
  app.get('/openapi.json', (context) => context.json(openApiDocument(routes, parts.url())));
  app.notFound(({ req }) => unknownPath(req.method, req.path));
  app.onError((error) => {
    if (!(error instanceof SidekeyError)) parts.log.error({ err: error }, 'an API request failed');
    return problem(error);
  });
  const handle = getRequestListener(app.fetch, { overrideGlobalObjects: false });
  return {
    async handle(request, response) {
      // A request may wait for a person, and a stream has no end.
      request.socket.setTimeout(0);
      await handle(request, response);
    },
  };
}

/** Statuses that differ from the proxy, because in the API these are faults of the request. */
const ownStatus: Partial<Record<FailureCode, number>> = { config_invalid: 422, provider_unknown: 404 };

/** Returns the answer for an error: a problem document, as the proxy sends it. */
function problem(error: unknown): Response {
  const { fields, ...refusal } = refusalOf(error);
  const status = (error instanceof SidekeyError ? ownStatus[error.code] : undefined) ?? refusal.status;
  const document = JSON.parse(refusal.body.toString()) as { readonly detail: string; readonly hint: string };
  const isOfCommands = document.hint === failures.input_invalid.hint;
  const texts = {
    detail: asMembers(document.detail),
    hint: isOfCommands ? 'GET /openapi.json describes the request' : asMembers(document.hint),
  };
  const remedies = error instanceof SidekeyError ? hintAnswer(error.hint).remedies : undefined;
  const body = JSON.stringify({ ...document, ...texts, status, remedies });
  const headers = new Headers();
  for (let i = 0; i < fields.length; i += 2) headers.set(fields[i] ?? '', fields[i + 1] ?? '');
  headers.delete('content-length');
  if (status === 401) headers.set('www-authenticate', 'Bearer realm="Sidekey"');
  return new Response(body, { status, headers });
}

const patternOf = (path: string) =>
  new RegExp(`^${path.replaceAll('.', String.raw`\.`).replace(/\{\w+\}/g, '[^/]+')}$`);

/** Returns the refusal of a path without a route, or without one of this method. */
function unknownPath(method: string, path: string): Response {
  const methods = routes
    .filter((row) => patternOf(row.path).test(path))
    .map((row) => row.method.toUpperCase());
  if (methods.length === 0) {
    const hint = 'GET /openapi.json lists them';
    return problem(new SidekeyError('not_found', 'The API has no such resource.', { hint }));
  }
  const hint = `its methods: ${methods.join(', ')}`;
  const answer = problem(
    new SidekeyError('method_not_allowed', `${method} is not a method of this resource.`, { hint }),
  );
  answer.headers.set('allow', methods.join(', '));
  return answer;
}

/**
 * Refuses a request for another host: a page whose name was rebound to this address sends its own name.
 *
 * @throws SidekeyError `authority_mismatch`
 */
function assertHost({ req, env }: Context<Bindings>, url: string): void {
  const host = req.header('host')?.toLowerCase() ?? '';
  const { localPort } = env.incoming.socket;
  const own = new URL(url).host;
  const local = ['127.0.0.1', 'localhost', '[::1]'].map((name) => `${name}:${localPort}`);
  if (host === own || local.includes(host)) return;
  throw new SidekeyError('authority_mismatch', 'The request is for another host than that of this service.', {
    hint: `use ${url}, or set admin.url to the address that people use`,
  });
}

/** @throws SidekeyError `api_auth_required`, `rate_limited` */
async function callerOf({ req, env }: Context<Bindings>, authenticate: Authenticate): Promise<Caller> {
  const caller = await authenticate(req.raw.headers, addressOf(env), req.method);
  env.incoming.emit('authenticated');
  return caller;
}

function servingOf(parts: ServiceParts, authenticate: Authenticate) {
  const idempotency = createIdempotency(parts);
  const inTurn = createTurns();

  return async (
    row: AnyRoute,
    query: z.ZodType | undefined,
    context: Context<Bindings>,
  ): Promise<Response> => {
    const { req } = context;
    const caller = await callerOf(context, authenticate);
    if (!allows(row, caller)) {
      throw new SidekeyError('scope_missing', `${caller.name} does not have the scope ${row.scope}.`);
    }
    const isRead = row.method !== 'get' && row.head === undefined;
    const bytes = isRead ? await bodyOf(req.raw) : Buffer.alloc(0);
    const isStillAllowed = async () => {
      const now = await authenticate(req.raw.headers, caller.address, req.method).catch(() => null);
      return now !== null && now.id === caller.id && now.user === caller.user && allows(row, now);
    };
    const key =
      row.method === 'post' && row.isRepeatable !== true ? req.header('idempotency-key') : undefined;
    const { signal } = key === undefined ? req.raw : new AbortController();
    const given = readRequest(row, query, context, { caller, bytes, isStillAllowed, signal });
    await assertOwner(row, given, parts);
    const read = async () => answerOf(row, given, await row.handle(given, parts), context);
    // The turn of a client that has gone is not used, and a right may end while it waits.
    const readLong = async () => {
      if (given.signal.aborted) return new Response(null, { status: 204 });
      if (await isStillAllowed()) return read();
      throw new SidekeyError('api_auth_required', `${caller.name} may no longer read this.`);
    };
    if (row.isLong === true) return inTurn('audit', readLong);
    if (row.method === 'get') return read();
    const change = async () => {
      await assertUnchanged(row, given);
      return answerOf(row, given, await row.handle(given, parts), context);
    };
    const { pathname, search } = new URL(req.url);
    if (key !== undefined) return idempotency.once({ key, caller, target: pathname + search, bytes }, change);
    // What is created needs no turn, and may wait for a person.
    return row.method === 'post'
      ? change()
      : inTurn(row.scope === 'config:write' ? 'config' : req.path, change);
  };

  /** @throws SidekeyError `precondition_failed` */
  async function assertUnchanged(row: AnyRoute, given: Given<never, never>) {
    const { ifMatch: wanted } = given;
    if (wanted === undefined || row.method === 'post') return;
    const reading = readingOf(row);
    if (reading === undefined) {
      throw new SidekeyError('input_invalid', 'This resource has no ETag, so If-Match cannot hold.', {
        hint: 'send the request without If-Match',
      });
    }
    preconditionOf(wanted, etagOf(await reading.handle(given, parts)));
  }
}

function allows({ scope }: AnyRoute, { scopes }: Caller): boolean {
  return scope === null || scopes.has(scope);
}

/**
 * Returns a function that runs the tasks of one name one after the other, so that no change is lost between
 * a check and its effect.
 */
function createTurns(): <T>(name: string, work: () => Promise<T>) => Promise<T> {
  const last = new Map<string, Promise<unknown>>();
  return (name, work) => {
    const done = (last.get(name) ?? Promise.resolve()).then(work, work);
    const settled = done.then(
      () => undefined,
      () => undefined,
    );
    last.set(name, settled);
    void settled.then(() => last.get(name) === settled && last.delete(name));
    return done;
  };
}

/** @throws SidekeyError `input_invalid` */
function readRequest(
  row: AnyRoute,
  query: z.ZodType | undefined,
  { req, env }: Context<Bindings>,
  {
    bytes,
    ...known
  }: Pick<Given<never, never>, 'caller' | 'isStillAllowed' | 'signal'> & { readonly bytes: Buffer },
): Given<never, never> {
  const written = Object.entries(req.queries()).map(([name, all]) => [name, all.length === 1 ? all[0] : all]);
  return {
    ...known,
    params: req.param(),
    query: (query === undefined ? {} : checked(query, Object.fromEntries(written), 'query')) as never,
    body: bodyIn(row, req.header('sidekey-relay') ?? '', bytes) as never,
    ifMatch: req.header('if-match'),
    origin: req.header('origin') ?? null,
    messages: env,
    lastEventId: req.header('last-event-id'),
  };
}

/** Returns the validated input of a route: its body, or the field in its place. */
function bodyIn({ body, head }: AnyRoute, field: string, bytes: Buffer): unknown {
  if (head === undefined) return body && checked(body, jsonOf(bytes), 'body');
  return checked(head, jsonOf(Buffer.from(field, 'latin1'), 'Sidekey-Relay'), 'Sidekey-Relay');
}

/**
 * Refuses a caller that is limited to a user what belongs to another one, or to nobody.
 *
 * @throws SidekeyError `not_found`, as for a thing that does not exist; `scope_missing`
 */
async function assertOwner(row: AnyRoute, given: Given<never, never>, parts: ServiceParts): Promise<void> {
  const { caller } = given;
  if (caller.user === null && caller.role !== 'user') return;
  if (row.owner === undefined) {
    throw new SidekeyError('scope_missing', `${caller.name} may only use what belongs to its user.`);
  }
  const owner = await row.owner(given, parts);
  if (owner !== null && owner === caller.user) return;
  throw new SidekeyError('not_found', 'There is nothing of that name for this caller.', {
    hint: 'GET /v2/grants lists the grants of the caller',
  });
}

function answerOf(
  row: AnyRoute,
  { query }: Given<Page, unknown>,
  value: unknown,
  { req, env: { outgoing } }: Context<Bindings>,
): Response {
  if (value instanceof Response) return value;
  if (row.status === 204) return new Response(null, { status: 204 });
  const body =
    row.list !== undefined && Array.isArray(value) ? pageOf(value as never[], row.list, query) : value;
  const text = JSON.stringify(body);
  const type = { 'content-type': 'application/json' };
  if (row.method !== 'get') return new Response(text, { status: row.status ?? 200, headers: type });
  const etag = etagOf(body);
  const isKnown = req.header('if-none-match') === etag;
  // Written here, because the body of a `Response` is a stream, which doubles the cost of a call.
  const length = isKnown ? {} : { 'content-length': Buffer.byteLength(text) };
  outgoing.writeHead(isKnown ? 304 : 200, { ...type, ...length, etag });
  outgoing.end(isKnown ? undefined : text);
  return RESPONSE_ALREADY_SENT;
}
