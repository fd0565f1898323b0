import type { Credential } from '../../grants/credential.ts';
import type { Provider } from '../../grants/provider.ts';
import type { OpenedGrant } from '../../grants/registry.ts';
import type { State } from '../../state.ts';
import type { Exit } from '../../upstream/exit.ts';
import type { Context } from '../context.ts';

/** What `sidekey connect` takes, as commander gives it. Times are milliseconds. */
export interface ConnectOptions {
  readonly name?: string;
  readonly user?: string;
  /** With commas or spaces between them. */
  readonly scopes?: string;
  readonly allowedDomains?: readonly string[];
  /** Hosts that are not in the provider's audience may be named. */
  readonly widen?: boolean;
  /** False: the allowed-domains map is left alone. */
  readonly domains?: boolean;
  /** `NAME=VALUE` of the provider's settings, kept in the config file. */
  readonly set?: readonly string[];
  /** Kept in the config file. */
  readonly clientId?: string;
  /** `env:`, `file:`, `command:`; kept in the config file. */
  readonly clientSecret?: string;
  /** How long to wait for a person: `5m`. */
  readonly timeout?: string;

  readonly port?: string;
  readonly redirectUri?: string;
  /** A program; false: none is opened. */
  readonly browser?: string | false;
  readonly paste?: boolean;
  readonly printUrl?: boolean;
  /** The URL that the browser came back to, or the code of it. */
  readonly finish?: string;
  /** Of a consent that is finished by its code alone. */
  readonly state?: string;

  readonly device?: boolean;
  readonly clientCredentials?: boolean;
  readonly jwtBearer?: boolean;
  readonly tokenExchange?: boolean;
  readonly import?: boolean;
  readonly token?: boolean;
  readonly verify?: boolean;
  readonly discover?: boolean;
  /** The grant that is a login at Auth0. */
  readonly via?: string;
  /** Of Auth0, where it is not called as the provider is. */
  readonly connection?: string;
  /** Of Auth0: which of several accounts of the connection. */
  readonly loginHint?: string;

  /** A file with a private key: PEM, JWK, or a service account as Google hands it out. `-`: standard input. */
  readonly key?: string;
  readonly keyId?: string;
  readonly algorithm?: string;
  readonly issuer?: string;
  readonly subject?: string;
  readonly assertionAudience?: string;
  readonly appId?: string;
  readonly installationId?: string;
  /** The ARN of a role of AWS. */
  readonly assumeRole?: string;
  readonly externalId?: string;
  /** The one region of AWS that the keys are used for. */
  readonly region?: string;
  /** `env:`, `file:`, `command:`; read anew for each exchange. None: a token on standard input, kept. */
  readonly subjectToken?: string;
  readonly subjectTokenType?: string;
  readonly actorToken?: string;
  readonly actorTokenType?: string;
  readonly requestedTokenType?: string;
  /** `NAME=VALUE`, sent with each token request. */
  readonly param?: readonly string[];
}

/** What a way to a credential is given. */
export interface ConnectRequest {
  readonly context: Context;
  readonly state: State;
  /** The one way out: through the dial guard. */
  readonly exit: Exit;
  /** Complete: no setting is open. */
  readonly provider: Provider;
  readonly name: string;
  readonly user: string;
  /** What to ask for: what a person named, else what the provider says; with those that the grant has already. */
  readonly scopes: readonly string[];
  /** The grant that is connected again; null: a new one. */
  readonly existing: OpenedGrant | null;
  readonly options: ConnectOptions;
  /** Aborted at Ctrl-C, and when the time is up. */
  readonly signal: AbortSignal;
}

/** What came of it. */
export interface Obtained {
  readonly credential: Credential;
  /** As they were granted. */
  readonly scopes: readonly string[];
  /** See `SealedCredential`. */
  readonly details?: Readonly<Record<string, string>>;
}

/** One way to a credential. Rejects with SidekeyError: `provider_refused`, `input_invalid`, `config_invalid` … */
export type Obtain = (request: ConnectRequest) => Promise<Obtained>;
