import type { Authority } from './authority.ts';
import type { BodyFacts } from './body-facts.ts';

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
