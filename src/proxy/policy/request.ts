import type { Authority } from './authority.ts';
import { type BodyFacts, type JsonRpcCall, noBody, unreadBody } from './body.ts';
import type { Json } from '../../lib/json.ts';
import { type GraphqlOperation, maxOperations, urlOperations } from './graphql.ts';
import { isUnread, type ReadingProblem, readPath, type ReadPath, readQuery, type ReadQuery } from './path.ts';

/** A request under evaluation. Parses each part once, at its first use. */
export class ReadRequest {
  readonly facts: RequestFacts;
  #path: ReadPath | ReadingProblem | null = null;
  #query: ReadQuery | ReadingProblem | null = null;
  #operations: readonly GraphqlOperation[] | null | undefined;

  constructor(facts: RequestFacts) {
    this.facts = facts;
  }

  path(): ReadPath | ReadingProblem {
    return (this.#path ??= readPath(this.facts.path));
  }

  query(): ReadQuery | ReadingProblem {
    return (this.#query ??= readQuery(this.facts.path));
  }

  /** The media type, without parameters, in lower case. Null: none. Undefined: not a media type. */
  mediaType(): string | null | undefined {
    const { contentType } = this.facts;
    return contentType === null ? null : mediaType.exec(contentType)?.[1]?.toLowerCase();
  }

  /** GraphQL operations of the body and the query: servers differ in which they use. Null: unread. */
  operations(): readonly GraphqlOperation[] | null {
    if (this.#operations === undefined) this.#operations = this.#readOperations();
    return this.#operations;
  }

  #readOperations(): readonly GraphqlOperation[] | null {
    const { graphql } = bodyOf(this.facts);
    if (graphql === null) return null;
    const parameters = this.query();
    const inUrl = isUnread(parameters) ? null : urlOperations(parameters);
    if (inUrl === null || graphql.length + inUrl.length > maxOperations) return null;
    return [...graphql, ...inUrl];
  }

  /** JSON-RPC calls. Null: unread. */
  calls(): readonly JsonRpcCall[] | null {
    return bodyOf(this.facts).jsonrpc;
  }

  /** The JSON body, with an undefined value if there is no body. Null: unread. */
  json(): { readonly value: Json | undefined } | null {
    return bodyOf(this.facts).json ?? null;
  }

  /** Parameters of a form-encoded body. Null: unread. */
  form(): ReadQuery | null {
    return bodyOf(this.facts).parameters ?? null;
  }
}

/** The content of an upgraded connection is not read. */
function bodyOf({ upgrades, body, contentLength }: RequestFacts): BodyFacts {
  if (upgrades) return unreadBody;
  return body ?? (contentLength === 0 ? noBody : unreadBody);
}

/** A media type with optional parameters (RFC 9110 §8.3.1). */
const mediaType = /^\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+\/[!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*(?:;[^,]*)?$/;

/** Facts about a request for policy, all known before it is forwarded. */
export interface RequestFacts {
  readonly authority: Authority;
  /** Method of the request line. Case-sensitive (RFC 9110 §9.1). */
  readonly method: string;
  /**
   * Header fields and announced trailers that match `overridesMethod`, such as `the header X-HTTP-Method`.
   */
  readonly methodFields: readonly string[];
  /** Header fields and announced trailers that match `overridesPath`, such as `the header X-Rewrite-URL`. */
  readonly pathFields: readonly string[];
  /** Parameters that the service treats as the method, besides those of `methodOverride`. */
  readonly methodParameters: readonly string[];
  /** True for a WebSocket handshake (RFC 6455, RFC 8441). Its content is not checked. */
  readonly upgrades: boolean;
  /** Protocols besides WebSocket that the request asks to switch to. Absent: none. */
  readonly protocols?: readonly string[] | undefined;
  /** Origin-form with query, raw, as it is forwarded. */
  readonly path: string;
  /** IP address of the client, without a port. */
  readonly client: string;
  /** Name of the agent; null for a caller without a token. */
  readonly agent: string | null;
  /** Owner of the grant, otherwise the user of the agent, or null. */
  readonly user: string | null;
  /** Labels of the agent, and of the grant once one is selected. */
  readonly labels: readonly string[];
  /** `Sidekey-Reason`, or null. */
  readonly reason: string | null;
  /** The only `Content-Type` field; null if there is none, or more than one. */
  readonly contentType: string | null;
  /** Bytes of the body: 0 without a body, null if its length is unknown (chunked). */
  readonly contentLength: number | null;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Result of `readBodyFacts` for a bounded copy; null if not (yet) read. */
  readonly body: BodyFacts | null;
}
