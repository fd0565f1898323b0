import type { HttpBindings } from '@hono/node-server';
import type { z } from 'zod';
import type { Origin } from '../domain/event.ts';
import type { Caller } from './caller.ts';
import type { ServiceParts } from './parts.ts';
import type { Scope } from '../domain/scopes.ts';

/** Routes of the API: data that the service serves and the OpenAPI document is made of. */

/** A request to a route, validated. */
export interface Given<Query, Body> {
  readonly params: Readonly<Record<string, string>>;
  readonly query: Query;
  readonly body: Body;
  readonly caller: Caller;
  /** `If-Match` of a change. */
  readonly ifMatch: string | undefined;
  /** `Origin`: the page that sent the request. */
  readonly origin: string | null;
  /** Aborts when the client leaves, unless its `Idempotency-Key` may ask for the answer again. */
  readonly signal: AbortSignal;
  /** Node's messages: a route with `head` reads the body and writes the answer itself. */
  readonly messages: HttpBindings;
  /** `Last-Event-ID` of a stream that goes on. */
  readonly lastEventId: string | undefined;
  /** Resolves with whether the caller may still use the route: a stream ends with its key or its person. */
  readonly isStillAllowed: () => Promise<boolean>;
}

interface Route<Query = never, Body = never> {
  readonly method: 'get' | 'post' | 'put' | 'patch' | 'delete';
  /** Path with parameters in braces: `/v2/grants/{grant}`. */
  readonly path: string;
  /** `operationId` of the OpenAPI document. */
  readonly id: string;
  /** Ids of its operations, which remedies name: `grant.refresh`. */
  readonly operations?: readonly string[];
  readonly tag: string;
  readonly summary: string;
  /** Scope that the caller needs; null: every caller may. */
  readonly scope: Scope | null;
  /**
   * Returns the user whose things the request touches; null: nothing of a single user. Callers that are
   * limited to a user may use only routes that have it.
   */
  readonly owner?: (given: Given<Query, Body>, parts: ServiceParts) => string | null | Promise<string | null>;
  readonly query?: z.ZodType<Query>;
  readonly body?: z.ZodType<Body>;
  /** Shape of the field `Sidekey-Relay`, which becomes `body`. The body of the request is then not read. */
  readonly head?: z.ZodType<Body>;
  /** Status of the answer; default: 200. */
  readonly status?: 201 | 202 | 204;
  /** Shape of the answer or, for a list, of one entry. */
  readonly result?: z.ZodType;
  /** Media type of an answer that is no JSON. */
  readonly media?: string;
  /** Returns the key of an entry; present only for a list: `handle` returns all entries, or a page. */
  readonly list?: (entry: never) => string;
  /** True if a POST may be repeated. Its answer, which may contain a secret, is then not stored. */
  readonly isRepeatable?: boolean;
  /** True if the route reads the whole audit log. Only one such request runs at a time. */
  readonly isLong?: boolean;
  /** Commands of the command line that the route stands for. */
  readonly commands?: readonly string[];
  /** Returns the answer, or a response that is no JSON. */
  readonly handle: (given: Given<Query, Body>, parts: ServiceParts) => Promise<unknown>;
}

/** A route of any types. */
export type AnyRoute = Route;

/** Types a route. */
export function route<Query, Body>(row: Route<Query, Body>): AnyRoute {
  return row as unknown as AnyRoute;
}

/** Returns the author of a change by the API, for the audit. */
export function originOf({ name, address }: Pick<Caller, 'name' | 'address'>): Origin {
  return { by: name, client: `api:${address}` };
}
