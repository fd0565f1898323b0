/**
 * A provider definition: where consent and tokens come from, where its credential may go, how it is carried.
 * Built-in ones are files in `config/providers/`; the config file's `providers` add to them or replace them.
 */
export interface Provider {
  readonly name: string;
  /** For people. */
  readonly title: string;
  readonly authorizationEndpoint: string | null;
  readonly tokenEndpoint: string | null;
  readonly revocationEndpoint: string | null;
  /** RFC 8414 `issuer`, checked in the authorization response (RFC 9207) where it is known. */
  readonly issuer: string | null;
  readonly clientId: string | null;
  /** Read from its reference when it is needed; null: a public client. */
  readonly clientSecret: (() => Promise<string>) | null;
  /** How the client authenticates at the token endpoint (RFC 6749 §2.3.1). */
  readonly clientAuth: 'basic' | 'post' | 'none';
  readonly scopes: readonly string[];
  /** Domain patterns that a credential of this provider may be sent to. */
  readonly audience: readonly string[];
  /** Where a token that is one value stands in the request. */
  readonly inject: InjectPlan;
}

/** `bearer`: RFC 6750 §2.1. `header`: a field of its own, after a prefix. */
export type InjectPlan =
  { readonly kind: 'bearer' } | { readonly kind: 'header'; readonly name: string; readonly prefix: string };
