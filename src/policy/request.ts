import type { Authority } from './authority.ts';
import { type BodyFacts, type JsonRpcCall, noBody, unreadBody } from './body.ts';
import { type GraphqlOperation, maxOperations, urlOperations } from './graphql.ts';
import { isUnread, type ReadingProblem, readPath, type ReadPath, readQuery, type ReadQuery } from './path.ts';

/** A request under evaluation. Each part is parsed at its first use, and once. */
export interface ReadRequest {
  readonly facts: RequestFacts;
  readonly path: () => ReadPath | ReadingProblem;
  readonly query: () => ReadQuery | ReadingProblem;
  /** Without parameters, in lower case. Null: none is named; undefined: it is no media type. */
  readonly mediaType: () => string | null | undefined;
  /** GraphQL operations of the body and the query: servers differ in which they use. Null: unread. */
  readonly operations: () => readonly GraphqlOperation[] | null;
  /** JSON-RPC calls. Null: unread. */
  readonly calls: readonly JsonRpcCall[] | null;
}

/** Prepares the request without parsing. */
export function readRequest(facts: RequestFacts): ReadRequest {
  // The content of an upgraded connection is not read.
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
      if (inUrl === null || body.graphql.length + inUrl.length > maxOperations) return null;
      return [...body.graphql, ...inUrl];
    }),
    calls: body.jsonrpc,
  };
}

function once<T>(read: () => T): () => T {
  let found: { readonly value: T } | null = null;
  return () => (found ??= { value: read() }).value;
}

/** A media type with optional parameters (RFC 9110 §8.3.1). */
const mediaType = /^\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+\/[!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*(?:;[^,]*)?$/;

function mediaTypeOf(contentType: string | null): string | null | undefined {
  return contentType === null ? null : mediaType.exec(contentType)?.[1]?.toLowerCase();
}

/** Facts about a request for policy; all are known before it is forwarded. */
export interface RequestFacts {
  readonly authority: Authority;
  /** Method of the request line; case-sensitive (RFC 9110 §9.1). */
  readonly method: string;
  /**
   * Header fields and announced trailers that some servers treat as the method (`overridesMethod`), as text;
   * no values.
   */
  readonly methodFields: readonly string[];
  /**
   * Header fields and announced trailers that some servers treat as the path (`overridesPath`), as text; no
   * values.
   */
  readonly pathFields: readonly string[];
  /** Parameters that the service treats as the method, besides those of `methodOverride`. */
  readonly methodParameters: readonly string[];
  /**
   * True if the request upgrades to another protocol (RFC 9110 §7.8, RFC 8441), whose content is not checked.
   */
  readonly upgrades: boolean;
  /** Origin-form with query, raw, as it is forwarded. */
  readonly path: string;
  /** IP address of the client, without a port. */
  readonly client: string;
  /** Name of the agent; null: a caller without a token. */
  readonly agent: string | null;
  /** Owner of the grant, or else the user of the agent; null: none. */
  readonly user: string | null;
  /** Labels of the agent, and of the grant once one is selected. */
  readonly labels: readonly string[];
  /** `Sidekey-Reason`; null: none was given. */
  readonly reason: string | null;
  /** The one `Content-Type` field; null: there is none, or more than one. */
  readonly contentType: string | null;
  /** Bytes of the body: 0 if there is none, null if its length is unknown (chunked). */
  readonly contentLength: number | null;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Result of `readBodyFacts` for a bounded copy; null: not read (yet). */
  readonly body: BodyFacts | null;
}
