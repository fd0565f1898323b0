import type { Authority } from './authority.ts';
import { type BodyFacts, type JsonRpcCall, noBody, unreadBody } from './body.ts';
import { type GraphqlOperation, maxOperations, urlOperations } from './graphql.ts';
import { isUnread, type ReadingProblem, readPath, type ReadPath, readQuery, type ReadQuery } from './path.ts';

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

/** RFC 9110 §8.3.1, with or without parameters. */
const mediaType = /^\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+\/[!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*(?:;[^,]*)?$/;

function mediaTypeOf(contentType: string | null): string | null | undefined {
  return contentType === null ? null : mediaType.exec(contentType)?.[1]?.toLowerCase();
}

/** What policy may look at of one request; plain values, all of them known before anything leaves. */
export interface RequestFacts {
  readonly authority: Authority;
  /** As it stands in the request line; methods are case-sensitive (RFC 9110 §9.1). */
  readonly method: string;
  /** Header fields and announced trailers that some servers take for the method instead (`overridesMethod`), in words; no values. */
  readonly methodFields: readonly string[];
  /** Header fields and announced trailers that some servers take for the path instead (`overridesPath`), in words; no values. */
  readonly pathFields: readonly string[];
  /** Parameters that the service takes for the method, besides those that `methodOverride` knows. */
  readonly methodParameters: readonly string[];
  /** The request asks for another protocol (RFC 9110 §7.8, RFC 8441): what it then says is not looked at. */
  readonly upgrades: boolean;
  /** Origin-form with query, raw: the very bytes that would be forwarded. */
  readonly path: string;
  /** IP address of the client, without a port. */
  readonly client: string;
  /** Name of the agent; null: a caller without a token. */
  readonly agent: string | null;
  /** Whose grant is used, or, where that is nobody's in particular, for whom the agent acts; null: nobody is named. */
  readonly user: string | null;
  /** Labels of the agent, and of the grant once one is selected. */
  readonly labels: readonly string[];
  /** `Sidekey-Reason`; null: none was given. */
  readonly reason: string | null;
  /** The one `Content-Type` field; null: there is none, or more than one. */
  readonly contentType: string | null;
  /** Bytes of the body: 0 where there is none, null where it streams without a length (chunked). */
  readonly contentLength: number | null;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** What `readBodyFacts` found in a bounded copy; null: not read (yet). */
  readonly body: BodyFacts | null;
}
