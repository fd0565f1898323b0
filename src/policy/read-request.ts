import { noBody, unreadBody, type JsonRpcCall } from './body-facts.ts';
import { mostOperations, type GraphqlOperation } from './graphql.ts';
import { urlOperations } from './graphql-request.ts';
import {
  isUnread,
  readPath,
  readQuery,
  type ReadingProblem,
  type ReadPath,
  type ReadQuery,
} from './path-reading.ts';
import type { RequestFacts } from './request-facts.ts';

/**
 * A request that is being judged: its facts, and what upstream reads in it. Each part is read when a rule first asks for
 * it, and once, however many rules ask.
 */
export interface ReadRequest {
  readonly facts: RequestFacts;
  readonly path: () => ReadPath | ReadingProblem;
  readonly query: () => ReadQuery | ReadingProblem;
  /** Without parameters, in lower case. Null: none is named; undefined: it is no media type. */
  readonly mediaType: () => string | null | undefined;
  /** Of GraphQL, in the body and in the query: servers look into both, and differ in which goes first. Null: unread. */
  readonly operations: () => readonly GraphqlOperation[] | null;
  /** Of JSON-RPC. Null: unread. */
  readonly calls: readonly JsonRpcCall[] | null;
}

/** Prepares the reading; nothing is read yet. */
export function readRequest(facts: RequestFacts): ReadRequest {
  // What an upgraded connection carries is read by nobody here.
  const body = facts.upgrades
    ? unreadBody
    : (facts.body ?? (facts.contentLength === 0 ? noBody : unreadBody));
  const query = once(() => readQuery(facts.path));
  return {
    facts,
    path: once(() => readPath(facts.path)),
    query,
    mediaType: once(() => mediaTypeOf(facts.contentType)),
    operations: once(() => {
      if (body.graphql === null) return null;
      const parameters = query();
      const inUrl = isUnread(parameters) ? null : urlOperations(parameters);
      if (inUrl === null || body.graphql.length + inUrl.length > mostOperations) return null;
      return [...body.graphql, ...inUrl];
    }),
    calls: body.jsonrpc,
  };
}

function once<T>(read: () => T): () => T {
  let found: { readonly value: T } | null = null;
  return () => (found ??= { value: read() }).value;
}

/** RFC 9110 §8.3.1, with or without parameters. */
const mediaType = /^\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+\/[!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*(?:;[^,]*)?$/;

function mediaTypeOf(contentType: string | null): string | null | undefined {
  return contentType === null ? null : mediaType.exec(contentType)?.[1]?.toLowerCase();
}
