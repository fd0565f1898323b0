// Made by "npm run sdk" from the OpenAPI document.
import type { CallOptions } from './transport.ts';

export interface TokenMetadata {
  readonly user_id: string;
  readonly integration_key: string;
  readonly grant_id: string;
  readonly provider: string;
  readonly token_type: string;
  readonly scopes: readonly string[];
  readonly state: string;
  readonly expires_at: string | null;
  readonly is_expired: boolean;
  readonly created_at: string;
  readonly updated_at: string;
}

/** An error (RFC 9457). */
export interface Problem {
  readonly title: string;
  readonly status: number;
  /** Stable code of the error; docs/errors.md lists them. */
  readonly code: string;
  /** One sentence. */
  readonly detail: string;
  /** The way out. */
  readonly hint?: string | undefined;
  readonly [name: string]: unknown;
}

export interface Token {
  readonly user_id: string;
  readonly integration_key: string;
  readonly grant_id: string;
  readonly provider: string;
  readonly token_type: string;
  readonly scopes: readonly string[];
  readonly state: string;
  readonly expires_at: string | null;
  readonly is_expired: boolean;
  readonly created_at: string;
  readonly updated_at: string;
  readonly refreshed: boolean;
  /** Present with the scope `tokens:read`. */
  readonly token_data?: Readonly<Record<string, unknown>> | undefined;
  /** Stands for the token in requests through the proxy. */
  readonly placeholder?: string | undefined;
}

export interface GrantInList {
  readonly id: string;
  readonly name: string;
  /** The user whose account it is. */
  readonly user: string;
  readonly provider: string;
  readonly type: string;
  readonly state: 'active' | 'expired' | 'revoked' | 'reauth_required';
  readonly state_reason: string | null;
  readonly scopes: readonly string[];
  /** End of the stored token. */
  readonly expires_at: string | null;
  readonly expires_in: number | null;
  readonly refreshable: boolean;
  readonly revision: number;
  readonly created_at: string;
  readonly updated_at: string;
  /** E-mail address or name of the account at the provider. */
  readonly account: string | null;
  readonly used_at: string | null;
  readonly grant_expires_at: string | null;
}

export interface Grant {
  readonly id: string;
  readonly name: string;
  /** The user whose account it is. */
  readonly user: string;
  readonly provider: string;
  readonly type: string;
  readonly state: 'active' | 'expired' | 'revoked' | 'reauth_required';
  readonly state_reason: string | null;
  readonly scopes: readonly string[];
  /** End of the stored token. */
  readonly expires_at: string | null;
  readonly expires_in: number | null;
  readonly refreshable: boolean;
  readonly revision: number;
  readonly created_at: string;
  readonly updated_at: string;
  readonly lacked_scopes: unknown;
  readonly obtained_at: string | null;
  readonly refresh_due_at: string | null;
  readonly refresh_token_dies_at: string | null;
  readonly consent_ends_at: string | null;
  readonly used_at: string | null;
  readonly refreshed_at: string | null;
  readonly failed_at: string | null;
  readonly failure: string | null;
  readonly next: {
    readonly what: string;
    readonly at: string | null;
  };
  readonly renewed_by: string | null;
  readonly source: string | null;
  readonly dpop: unknown;
  /** E-mail address or name of the account at the provider. */
  readonly account: string | null;
  /** Each name of the account, as the provider has it. */
  readonly account_details: Readonly<Record<string, string>>;
  readonly grant_type: string | null;
  readonly client_id: string | null;
  /** Hosts that its credential may be sent to. */
  readonly audience: readonly string[];
  readonly fingerprint: string | null;
  readonly domains: readonly string[];
  readonly settings: {
    /** End of the grant itself. */
    readonly expires_at: string | null;
    readonly default_ttl: number | null;
    readonly max_ttl: number | null;
    readonly default_lease_ttl: number | null;
    readonly max_lease_ttl: number | null;
    readonly labels: readonly string[];
    readonly metadata: Readonly<Record<string, string>>;
  };
  readonly reached_by: {
    readonly agents: readonly ({
      readonly name: string;
      readonly state: string;
    })[];
    readonly active_leases: readonly ({
      readonly id: string;
      readonly agent: string;
    })[];
  };
  readonly certificate?: {
    readonly subject: string;
    readonly issuer: string;
    readonly serial: string;
    readonly sha256: string;
    readonly valid_from: string;
    readonly valid_until: string;
    readonly issuers_sent: number;
  } | undefined;
}

export interface AddedGrant {
  readonly id: string;
  readonly name: string;
  /** The user whose account it is. */
  readonly user: string;
  readonly provider: string;
  readonly type: string;
  readonly state: 'active' | 'expired' | 'revoked' | 'reauth_required';
  readonly state_reason: string | null;
  readonly scopes: readonly string[];
  /** End of the stored token. */
  readonly expires_at: string | null;
  readonly expires_in: number | null;
  readonly refreshable: boolean;
  readonly revision: number;
  readonly created_at: string;
  readonly updated_at: string;
  /** E-mail address or name of the account at the provider. */
  readonly account: string | null;
  /** Each name of the account, as the provider has it. */
  readonly account_details: Readonly<Record<string, string>>;
  readonly audience: readonly string[];
  readonly domains: readonly string[];
  readonly replaced: boolean;
  readonly verified: boolean;
  readonly warnings: readonly string[];
  readonly certificate?: {
    readonly subject: string;
    readonly issuer: string;
    readonly serial: string;
    readonly sha256: string;
    readonly valid_from: string;
    readonly valid_until: string;
    readonly issuers_sent: number;
  } | undefined;
}

export interface GrantSettings {
  readonly id: string;
  readonly name: string;
  readonly user: string;
  readonly scopes: readonly string[];
  /** End of the grant itself. */
  readonly expires_at: string | null;
  readonly default_ttl: number | null;
  readonly max_ttl: number | null;
  readonly default_lease_ttl: number | null;
  readonly max_lease_ttl: number | null;
  readonly labels: readonly string[];
  readonly metadata: Readonly<Record<string, string>>;
}

export interface RefreshedGrant {
  readonly id: string;
  readonly name: string;
  /** The user whose account it is. */
  readonly user: string;
  readonly provider: string;
  readonly type: string;
  readonly state: 'active' | 'expired' | 'revoked' | 'reauth_required';
  readonly state_reason: string | null;
  readonly scopes: readonly string[];
  /** End of the stored token. */
  readonly expires_at: string | null;
  readonly expires_in: number | null;
  readonly refreshable: boolean;
  readonly revision: number;
  readonly created_at: string;
  readonly updated_at: string;
  readonly renewed: boolean;
}

export interface RevokedGrant {
  readonly id: string;
  readonly name: string;
  /** The user whose account it is. */
  readonly user: string;
  readonly provider: string;
  readonly type: string;
  readonly state: 'active' | 'expired' | 'revoked' | 'reauth_required';
  readonly state_reason: string | null;
  readonly scopes: readonly string[];
  /** End of the stored token. */
  readonly expires_at: string | null;
  readonly expires_in: number | null;
  readonly refreshable: boolean;
  readonly revision: number;
  readonly created_at: string;
  readonly updated_at: string;
  readonly changed: boolean;
  /** Result of the revocation at the provider: `ended`, `not told`, `failed`. */
  readonly at_provider: string | null;
}

export interface RemovedGrant {
  readonly id: string;
  readonly name: string;
  readonly user: string;
  readonly removed: true;
  /** Result of the revocation at the provider: `ended`, `not told`, `failed`. */
  readonly at_provider: string | null;
  /** Domains that have no grant any more. */
  readonly domains: readonly string[];
}

export interface CreatedConnectSession {
  readonly id: string;
  /** Works once. */
  readonly connect_url: string;
  readonly session_token: string;
  readonly expires_at: string;
}

export interface DeviceSession {
  readonly id: string;
  readonly user_code: string;
  /** The person opens it, and types the code. */
  readonly verification_uri: string;
  /** The same with the code in it. */
  readonly verification_uri_complete: string | null;
  readonly expires_at: string;
  /** Seconds between two questions to the provider. */
  readonly interval: number;
}

export interface ConnectSession {
  readonly id: string;
  readonly status: 'pending' | 'connected' | 'failed' | 'expired';
  readonly provider: string;
  readonly user: string;
  readonly grant_id?: string | undefined;
  readonly error?: {
    readonly code: string;
    readonly detail: string;
  } | undefined;
}

export interface Domain {
  /** `host`, `host:port` or `*.suffix`. */
  readonly domain: string;
  readonly action: 'grant' | 'tunnel' | 'deny';
  /** Place in the config file. */
  readonly origin: string;
  readonly grant?: string | undefined;
  readonly allow_plain_http?: boolean | undefined;
  readonly leak_guard?: string | undefined;
  readonly leak_limit?: unknown;
  readonly foreign_credentials?: string | undefined;
  readonly also?: readonly string[] | undefined;
  readonly grants?: readonly ({
    readonly id: string;
    readonly name: string;
    readonly user: string;
    readonly state: string;
  })[] | undefined;
  readonly mode?: string | undefined;
  readonly default?: string | undefined;
  readonly rules?: readonly ({
    readonly name: string | null;
    readonly outcome: string;
    readonly text: string;
    readonly [name: string]: unknown;
  })[] | undefined;
}

export interface ChangedDomain {
  readonly domain: string;
  readonly change: 'added' | 'replaced' | 'removed' | 'unchanged';
  readonly says: string;
  readonly config: string;
  readonly warnings: readonly string[];
}

export interface Provider {
  readonly name: string;
  readonly title: string;
  readonly category: string;
  readonly [name: string]: unknown;
}

export interface Explanation {
  readonly method: string;
  readonly url: string;
  readonly agent: string | null;
  readonly lease: string | null;
  readonly allowed: boolean;
  /** True: a person is asked. */
  readonly held: boolean;
  readonly outcome: string;
  readonly code?: string | undefined;
  readonly status?: number | undefined;
  readonly message?: string | undefined;
  readonly hint?: string | undefined;
  readonly steps: readonly ({
    readonly step: string;
    readonly ok: boolean;
    readonly text: string;
    readonly [name: string]: unknown;
  })[];
}

export interface AgentInList {
  readonly name: string;
  readonly state: 'enabled' | 'disabled';
  readonly acts_for: string | null;
  readonly labels: readonly string[];
  readonly bindings: readonly Binding[];
  readonly live_tokens: number;
  /** The entries of agent_issuers whose tokens identify it. */
  readonly issuers: readonly string[];
  readonly active_leases: number;
  readonly used_at: string | null;
  readonly created_at: string;
}

export interface Binding {
  readonly kind: 'grant' | 'provider' | 'user' | 'label' | 'everything' | 'egress';
  readonly value: string | null;
}

export interface Agent {
  readonly name: string;
  readonly state: 'enabled' | 'disabled';
  readonly acts_for: string | null;
  readonly labels: readonly string[];
  readonly bindings: readonly Binding[];
  readonly reaches: readonly ({
    readonly id: string;
    readonly name: string;
    readonly user: string;
    readonly provider: string;
  })[];
  readonly tokens: readonly ({
    readonly id: string;
    readonly label: string;
    readonly live: boolean;
    readonly created_at: string;
    readonly expires_at: string | null;
    readonly revoked_at: string | null;
    readonly used_at: string | null;
  })[];
  readonly identities: readonly ({
    readonly issuer: string;
    readonly claims: Readonly<Record<string, string>>;
  })[];
  readonly active_leases: readonly string[];
  readonly used_at: string | null;
  readonly created_at: string;
}

export interface CreatedAgent {
  readonly name: string;
  /** Shown only once. Null: it has none. */
  readonly token: string | null;
  readonly proxy_url: string | null;
  readonly expires_at: string | null;
  readonly acts_for: string | null;
  readonly labels: readonly string[];
  readonly bindings: readonly Binding[];
}

export interface BoundAgent {
  readonly name: string;
  readonly changed: boolean;
  readonly bindings: readonly Binding[];
}

export interface Lease {
  readonly id: string;
  readonly agent: string;
  /** IDs; null: all that its agent reaches. */
  readonly grants: readonly string[] | null;
  /** Hosts without a credential; null: those of its agent. */
  readonly egress: readonly string[] | null;
  readonly purpose: string;
  readonly state: 'active' | 'expired' | 'used_up' | 'revoked';
  readonly expires_at: string;
  readonly ends_at: string | null;
  readonly expires_in: number;
  readonly idle: number | null;
  readonly max_uses: number | null;
  readonly uses: number | null;
  readonly used_at: string | null;
  readonly renewed_at: string | null;
  readonly revoked_at: string | null;
  readonly created_at: string;
}

export interface LeaseInFull {
  readonly id: string;
  readonly agent: string;
  /** IDs; null: all that its agent reaches. */
  readonly grants: readonly string[] | null;
  /** Hosts without a credential; null: those of its agent. */
  readonly egress: readonly string[] | null;
  readonly purpose: string;
  readonly state: 'active' | 'expired' | 'used_up' | 'revoked';
  readonly expires_at: string;
  readonly ends_at: string | null;
  readonly expires_in: number;
  readonly idle: number | null;
  readonly max_uses: number | null;
  readonly uses: number | null;
  readonly used_at: string | null;
  readonly renewed_at: string | null;
  readonly revoked_at: string | null;
  readonly created_at: string;
  readonly warnings: readonly string[];
}

export interface CreatedLease {
  readonly id: string;
  readonly agent: string;
  /** IDs; null: all that its agent reaches. */
  readonly grants: readonly string[] | null;
  /** Hosts without a credential; null: those of its agent. */
  readonly egress: readonly string[] | null;
  readonly purpose: string;
  readonly state: 'active' | 'expired' | 'used_up' | 'revoked';
  readonly expires_at: string;
  readonly ends_at: string | null;
  readonly expires_in: number;
  readonly idle: number | null;
  readonly max_uses: number | null;
  readonly uses: number | null;
  readonly used_at: string | null;
  readonly renewed_at: string | null;
  readonly revoked_at: string | null;
  readonly created_at: string;
  /** Shown only once. */
  readonly token: string;
  readonly proxy_url: string;
  readonly capped_by: string | null;
  readonly warnings: readonly string[];
}

export interface RenewedLease {
  readonly id: string;
  readonly agent: string;
  /** IDs; null: all that its agent reaches. */
  readonly grants: readonly string[] | null;
  /** Hosts without a credential; null: those of its agent. */
  readonly egress: readonly string[] | null;
  readonly purpose: string;
  readonly state: 'active' | 'expired' | 'used_up' | 'revoked';
  readonly expires_at: string;
  readonly ends_at: string | null;
  readonly expires_in: number;
  readonly idle: number | null;
  readonly max_uses: number | null;
  readonly uses: number | null;
  readonly used_at: string | null;
  readonly renewed_at: string | null;
  readonly revoked_at: string | null;
  readonly created_at: string;
  readonly capped_by: string | null;
  readonly warnings: readonly string[];
}

export interface Approval {
  readonly id: string;
  readonly exchange: string;
  readonly asked_at: string;
  readonly expires_at: string;
  readonly expires_in: number;
  readonly agent: string | null;
  readonly client: string;
  readonly lease: string | null;
  /** Unchecked text of the agent. */
  readonly purpose: string | null;
  readonly method: string;
  readonly scheme: 'http' | 'https';
  readonly authority: string;
  readonly path: string;
  readonly query: string | null;
  /** Header fields that are not common: `NAME: VALUE`. */
  readonly fields: readonly string[];
  readonly has_query: boolean;
  /** The request in words of its provider. */
  readonly operation: string | null;
  readonly body_bytes: number | null;
  readonly grant: string;
  readonly grant_name: string;
  readonly user: string;
  readonly provider: string;
  /** Unchecked text of the agent. */
  readonly reason: string | null;
  readonly rule: string;
  readonly rule_name: string | null;
  readonly answer: {
    readonly outcome: 'allowed' | 'denied';
    readonly reach: 'once' | 'lease' | 'until' | null;
    readonly until: string | null;
    readonly at: string;
    readonly by: string;
  } | null;
}

export interface StandingApproval {
  readonly id: string;
  readonly agent: string | null;
  readonly lease: string | null;
  readonly grant: string;
  readonly grant_name: string;
  readonly rule: string;
  readonly rule_name: string | null;
  readonly until: string | null;
  readonly at: string;
  readonly by: string;
}

export interface Proposal {
  readonly id: string;
  readonly status: 'waiting' | 'accepted' | 'declined' | 'expired';
  readonly agent: string | null;
  readonly lease: string | null;
  readonly change: {
    readonly kind: 'domain';
    readonly host: string;
    readonly grant: string | null;
    readonly action: 'tunnel' | 'grant';
  } | {
    readonly kind: 'grant';
    readonly provider: string;
    readonly scopes: readonly string[];
  } | {
    readonly kind: 'scope';
    readonly grant: string;
    readonly scopes: readonly string[];
  };
  /** Unchecked text of the agent. */
  readonly reason: string;
  readonly client: string;
  readonly asked_at: string;
  readonly expires_at: string;
  readonly answer: {
    readonly outcome: 'declined' | 'once' | 'lease' | 'for_good' | 'connect' | 'connected';
    readonly at: string;
    readonly by: string;
  } | null;
  readonly used_at: string | null;
}

export interface ProposalWithEffect {
  readonly id: string;
  readonly status: 'waiting' | 'accepted' | 'declined' | 'expired';
  readonly agent: string | null;
  readonly lease: string | null;
  readonly change: {
    readonly kind: 'domain';
    readonly host: string;
    readonly grant: string | null;
    readonly action: 'tunnel' | 'grant';
  } | {
    readonly kind: 'grant';
    readonly provider: string;
    readonly scopes: readonly string[];
  } | {
    readonly kind: 'scope';
    readonly grant: string;
    readonly scopes: readonly string[];
  };
  /** Unchecked text of the agent. */
  readonly reason: string;
  readonly client: string;
  readonly asked_at: string;
  readonly expires_at: string;
  readonly answer: {
    readonly outcome: 'declined' | 'once' | 'lease' | 'for_good' | 'connect' | 'connected';
    readonly at: string;
    readonly by: string;
  } | null;
  readonly used_at: string | null;
  /** Change of the config file by a yes for good. */
  readonly diff: string | null;
  /** Commands that connect the grant. */
  readonly commands: readonly string[];
  readonly notes: readonly string[];
}

/** A line of the audit log (docs/audit.md). */
export interface AuditLine {
  readonly v: 1;
  readonly seq: number;
  readonly time: string;
  readonly node: string;
  readonly event: string;
  readonly hash: string;
  readonly [name: string]: unknown;
}

export interface Metrics {
  readonly step: number;
  readonly buckets: readonly ({
    readonly time: string;
    readonly exchanges: number;
    readonly refusals: number;
    readonly failures: number;
    readonly refreshes: number;
    readonly p50_ms: number | null;
    readonly p99_ms: number | null;
  })[];
}

/** The master keys of the store, current first. No key is in it. */
export interface Keys {
  readonly source: string;
  readonly rotating: boolean;
  /** Records that an earlier key seals. */
  readonly left: number;
  readonly keys: readonly ({
    readonly key_id: string;
    readonly state: 'current' | 'rotating' | 'retired';
    readonly since: string | null;
    readonly retired_at: string | null;
    readonly records: number;
  })[];
  /** Nodes whose key source still has the key before. */
  readonly behind: readonly Node[];
}

/** The processes with one config file on one machine. */
export interface Node {
  readonly name: string;
  /** The kind of its key source. */
  readonly source: string;
  /** The master key at its source. */
  readonly key_id: string;
  readonly version: string;
  readonly joined_at: string;
  readonly seen_at: string;
}

/** Findings, and a sentence with a way out for each problem. */
export interface Status {
  readonly ok: boolean;
  readonly needs: readonly ({
    readonly about?: string | undefined;
    readonly sentence: string;
    readonly hint: string | null;
    readonly [name: string]: unknown;
  })[];
  readonly [name: string]: unknown;
}

/** The text of the config file. Secrets stand in it as references. */
export interface Config {
  readonly file: string;
  readonly text: string;
}

export interface ApiKey {
  readonly name: string;
  readonly role: 'operator' | 'approver' | 'auditor' | 'user';
  readonly scopes: readonly string[] | null;
  readonly user: string | null;
  readonly person: string | null;
  readonly created_at: string;
  readonly expires_at: string | null;
  readonly used_at: string | null;
}

export interface CreatedApiKey {
  readonly name: string;
  readonly role: 'operator' | 'approver' | 'auditor' | 'user';
  readonly scopes: readonly string[] | null;
  readonly user: string | null;
  readonly person: string | null;
  readonly created_at: string;
  readonly expires_at: string | null;
  readonly used_at: string | null;
  readonly key: string;
}

export interface Me {
  readonly name: string;
  readonly role: 'operator' | 'approver' | 'auditor' | 'user';
  readonly user: string | null;
  readonly scopes: readonly ('grants:read' | 'grants:write' | 'tokens:read' | 'tokens:write' | 'access:read' | 'access:write' | 'approvals:read' | 'approvals:write' | 'audit:read' | 'config:read' | 'config:write' | 'requests:send' | 'status:read')[];
}

export interface Person {
  readonly name: string;
  /** none: the account at the issuer of `admin.oidc` has no role any more, and the person is refused. */
  readonly role: 'operator' | 'approver' | 'auditor' | 'user' | 'none';
  readonly user: string | null;
  /** Issuer and subject of the account that the person signs in with; null: there is none. */
  readonly identity: string | null;
  readonly state: 'enabled' | 'disabled';
  readonly passkeys: readonly ({
    readonly id: string;
    readonly label: string;
    readonly created_at: string;
    readonly used_at: string | null;
  })[];
  readonly created_at: string;
}

export interface Passkey {
  readonly id: string;
  readonly label: string;
  readonly created_at: string;
  readonly used_at: string | null;
}

/** Methods of the client, one for each operation of the API. */
export interface Operations {
  /** Store a token of a user. `POST /v2/users/{user}/tokens` */
  createToken(input: {
    readonly user: string;
  } & ({
    /** Letters, digits, dots, dashes and underscores. */
    readonly integration_key: string;
    /** Letters, digits, dots, dashes and underscores. */
    readonly provider: string;
    readonly token_type: 'oauth2' | 'api_key' | 'jwt';
    readonly token_data: {
      readonly access_token?: string | undefined;
      readonly refresh_token?: string | undefined;
      readonly token_type?: string | undefined;
      readonly expires_in?: number | undefined;
      readonly scope?: string | undefined;
      readonly client_id?: string | undefined;
      readonly client_secret?: string | undefined;
      readonly api_key?: string | undefined;
      readonly jwt?: string | undefined;
      readonly [name: string]: unknown;
    };
    readonly scopes?: readonly string[] | undefined;
    readonly expires_at?: string | undefined;
  }), options?: CallOptions): Promise<TokenMetadata>;

  /** List the tokens of a user, without their values. `GET /v2/users/{user}/tokens` */
  listTokens(input: {
    readonly user: string;
    readonly limit?: number | undefined;
  }, options?: CallOptions): AsyncGenerator<TokenMetadata, void, undefined>;

  /** Show a token, refreshed first where it is due. `GET /v2/users/{user}/tokens/{integration_key}` */
  getToken(input: {
    readonly user: string;
    readonly integration_key: string;
  }, options?: CallOptions): Promise<Token>;

  /** End a token, here and at the provider, and delete it. `DELETE /v2/users/{user}/tokens/{integration_key}` */
  deleteToken(input: {
    readonly user: string;
    readonly integration_key: string;
  }, options?: CallOptions): Promise<void>;

  /** Get a new token from the provider in any case. `POST /v2/users/{user}/tokens/{integration_key}/refresh` */
  refreshToken(input: {
    readonly user: string;
    readonly integration_key: string;
  }, options?: CallOptions): Promise<Token>;

  /** List the grants. `GET /v2/grants` */
  listGrants(input?: {
    readonly user?: string | undefined;
    readonly limit?: number | undefined;
  }, options?: CallOptions): AsyncGenerator<GrantInList, void, undefined>;

  /** Store a credential that exists, after it was verified. `POST /v2/grants` */
  addGrant(input: ({
    /** Letters, digits, dots, dashes and underscores. */
    readonly name?: string | undefined;
    /** Letters, digits, dots, dashes and underscores. */
    readonly provider: string;
    /** Letters, digits, dots, dashes and underscores. */
    readonly user?: string | undefined;
    /** A key or token, PEM, or JSON as `sidekey grant import` takes it. */
    readonly credential: string | Readonly<Record<string, unknown>>;
    readonly audience?: readonly string[] | undefined;
    readonly replace?: boolean | undefined;
    /** False: store it without asking the provider. */
    readonly verify?: boolean | undefined;
  }), options?: CallOptions): Promise<AddedGrant>;

  /** Show a grant, without its secret. `GET /v2/grants/{grant}` */
  getGrant(input: {
    readonly grant: string;
    readonly user?: string | undefined;
  }, options?: CallOptions): Promise<Grant>;

  /** Change the expiry, the lease times, the labels, the metadata or the scopes of a grant. `PATCH /v2/grants/{grant}` */
  changeGrant(input: {
    readonly grant: string;
    readonly user?: string | undefined;
  } & ({
    /** 30d, a date, or none. */
    readonly expires?: string | undefined;
    readonly ttl?: string | undefined;
    readonly max_ttl?: string | undefined;
    readonly lease_ttl?: string | undefined;
    readonly max_lease_ttl?: string | undefined;
    readonly labels?: readonly string[] | undefined;
    /** Added; an empty value removes its key. */
    readonly metadata?: Readonly<Record<string, string>> | undefined;
    /** Those that it keeps, of the present ones. */
    readonly scopes?: readonly string[] | undefined;
  }), options?: CallOptions): Promise<GrantSettings>;

  /** End a grant, here and at the provider, and delete it. `DELETE /v2/grants/{grant}` */
  removeGrant(input: {
    readonly grant: string;
    readonly user?: string | undefined;
    readonly local?: string | undefined;
  }, options?: CallOptions): Promise<RemovedGrant>;

  /** Get a new token where the stored one is due or has ended. `POST /v2/grants/{grant}/refresh` */
  refreshGrant(input: {
    readonly grant: string;
    readonly user?: string | undefined;
  } & ({
    readonly force?: boolean | undefined;
  }), options?: CallOptions): Promise<RefreshedGrant>;

  /** End a grant, here and at the provider; it stays in the list. `POST /v2/grants/{grant}/revoke` */
  revokeGrant(input: {
    readonly grant: string;
    readonly user?: string | undefined;
  } & ({
    /** True: do not tell the provider. */
    readonly local?: boolean | undefined;
  }), options?: CallOptions): Promise<RevokedGrant>;

  /** Begin a session in which a person connects an account in a browser. `POST /v2/connect-sessions` */
  createConnectSession(input: ({
    /** Letters, digits, dots, dashes and underscores. */
    readonly provider: string;
    /** Letters, digits, dots, dashes and underscores. */
    readonly user: string;
    readonly scopes?: readonly string[] | undefined;
    /** Name of the grant; default: that of the provider. */
    readonly name?: string | undefined;
    readonly grant_policy?: {
      readonly ttl?: string | undefined;
      readonly max_ttl?: string | undefined;
      readonly lease_ttl?: string | undefined;
      readonly max_lease_ttl?: string | undefined;
      readonly labels?: readonly string[] | undefined;
      readonly metadata?: Readonly<Record<string, string>> | undefined;
    } | undefined;
    /** One of `admin.return_urls`, with a path and a query of your own. */
    readonly return_url?: string | undefined;
    /** Origin of the page that opens a popup. */
    readonly popup_origin?: string | undefined;
  }), options?: CallOptions): Promise<CreatedConnectSession>;

  /** Begin a session in which a person types a code on another device. `POST /v2/connect-sessions/device` */
  createDeviceSession(input: ({
    /** Letters, digits, dots, dashes and underscores. */
    readonly provider: string;
    /** Letters, digits, dots, dashes and underscores. */
    readonly user: string;
    readonly scopes?: readonly string[] | undefined;
    /** Name of the grant; default: that of the provider. */
    readonly name?: string | undefined;
    readonly grant_policy?: {
      readonly ttl?: string | undefined;
      readonly max_ttl?: string | undefined;
      readonly lease_ttl?: string | undefined;
      readonly max_lease_ttl?: string | undefined;
      readonly labels?: readonly string[] | undefined;
      readonly metadata?: Readonly<Record<string, string>> | undefined;
    } | undefined;
  }), options?: CallOptions): Promise<DeviceSession>;

  /** Show the state of a session; it can be read for a day. `GET /v2/connect-sessions/{id}` */
  getConnectSession(input: {
    readonly id: string;
  }, options?: CallOptions): Promise<ConnectSession>;

  /** List the allowed-domains map, with its rules. `GET /v2/domains` */
  listDomains(input?: {
    readonly limit?: number | undefined;
  }, options?: CallOptions): AsyncGenerator<Domain, void, undefined>;

  /** Return the text of the config file after a change of the map; write nothing. `POST /v2/domains/preview` */
  previewDomain(input: ({
    /** Text of the config file. */
    readonly text: string;
    readonly host: string;
    readonly action: 'grant' | 'tunnel' | 'deny' | 'remove';
    readonly grant?: string | undefined;
  }), options?: CallOptions): Promise<{
    readonly text: string;
    readonly change: string;
  }>;

  /** Show the entry that covers a host, as an array of one. `GET /v2/domains/{host}` */
  getDomain(input: {
    readonly host: string;
  }, options?: CallOptions): Promise<readonly Domain[]>;

  /** Write an entry of the map into the config file. `PUT /v2/domains/{host}` */
  putDomain(input: {
    readonly host: string;
  } & ({
    readonly action: 'grant';
    readonly grant: string;
    readonly allow_plain_http?: boolean | undefined;
  } | {
    readonly action: 'tunnel';
  } | {
    readonly action: 'deny';
  }), options?: CallOptions): Promise<ChangedDomain>;

  /** Remove an entry of the map from the config file. `DELETE /v2/domains/{host}` */
  removeDomain(input: {
    readonly host: string;
  }, options?: CallOptions): Promise<ChangedDomain>;

  /** List the providers. `GET /v2/providers` */
  listProviders(input?: {
    readonly text?: string | undefined;
    readonly limit?: number | undefined;
  }, options?: CallOptions): AsyncGenerator<Provider, void, undefined>;

  /** Show how to connect to a provider, and which hosts get its tokens. `GET /v2/providers/{provider}` */
  getProvider(input: {
    readonly provider: string;
  }, options?: CallOptions): Promise<Provider>;

  /** Show what would happen to a request; send nothing. `POST /v2/explain` */
  explainRequest(input: ({
    readonly method?: string | undefined;
    readonly url: string;
    readonly agent?: string | undefined;
    readonly lease?: string | undefined;
    readonly user?: string | undefined;
    readonly grant?: string | undefined;
    /** `Name: value`. */
    readonly headers?: readonly string[] | undefined;
    readonly body?: string | undefined;
    readonly client?: string | undefined;
    readonly at?: string | undefined;
  }), options?: CallOptions): Promise<Explanation>;

  /** List the agents. `GET /v2/agents` */
  listAgents(input?: {
    readonly limit?: number | undefined;
  }, options?: CallOptions): AsyncGenerator<AgentInList, void, undefined>;

  /** Create an agent. The answer has its token, once. `POST /v2/agents` */
  createAgent(input: ({
    /** Name, ID, or USER/NAME. */
    readonly grants?: readonly string[] | undefined;
    /** Every grant of these providers. */
    readonly providers?: readonly string[] | undefined;
    /** Every grant of these users. */
    readonly users?: readonly string[] | undefined;
    /** Every grant with one of these labels. */
    readonly labels?: readonly string[] | undefined;
    /** Every grant of every user. */
    readonly everything?: boolean | undefined;
    /** Only these hosts without a credential: HOST, HOST:PORT, *.SUFFIX, or none. */
    readonly egress?: readonly string[] | undefined;
    /** Letters, digits, dots, dashes and underscores. */
    readonly name: string;
    /** The user that it acts for. */
    readonly acts_for?: string | undefined;
    readonly agent_labels?: readonly string[] | undefined;
    /** Letters, digits, dots, dashes and underscores. */
    readonly token_label?: string | undefined;
    /** 90d, or a date. */
    readonly expires?: string | undefined;
    /** False: no token, because an issuer gives it tokens. */
    readonly token?: boolean | undefined;
  }), options?: CallOptions): Promise<CreatedAgent>;

  /** Show an agent, and the grants that it reaches. `GET /v2/agents/{agent}` */
  getAgent(input: {
    readonly agent: string;
  }, options?: CallOptions): Promise<Agent>;

  /** Change the user and the labels of an agent; disable or enable it. `PATCH /v2/agents/{agent}` */
  changeAgent(input: {
    readonly agent: string;
  } & ({
    readonly acts_for?: string | null | undefined;
    readonly agent_labels?: readonly string[] | undefined;
    readonly disabled?: boolean | undefined;
  }), options?: CallOptions): Promise<{
    readonly name: string;
    readonly acts_for: string | null;
    readonly labels: readonly string[];
    readonly state: 'enabled' | 'disabled';
    readonly changed: boolean;
  }>;

  /** Remove an agent with its tokens, bindings and leases; or only its tokens of a label. `DELETE /v2/agents/{agent}` */
  removeAgent(input: {
    readonly agent: string;
    readonly token_label?: string | undefined;
  }, options?: CallOptions): Promise<{
    readonly name: string;
    readonly removed: true;
  } | {
    readonly name: string;
    readonly label: string;
    readonly revoked: number;
  }>;

  /** Let an agent use more grants, or fewer with `remove`. `POST /v2/agents/{agent}/bind` */
  bindAgent(input: {
    readonly agent: string;
  } & ({
    /** Name, ID, or USER/NAME. */
    readonly grants?: readonly string[] | undefined;
    /** Every grant of these providers. */
    readonly providers?: readonly string[] | undefined;
    /** Every grant of these users. */
    readonly users?: readonly string[] | undefined;
    /** Every grant with one of these labels. */
    readonly labels?: readonly string[] | undefined;
    /** Every grant of every user. */
    readonly everything?: boolean | undefined;
    /** Only these hosts without a credential: HOST, HOST:PORT, *.SUFFIX, or none. */
    readonly egress?: readonly string[] | undefined;
    readonly remove?: boolean | undefined;
    /** With `remove`: all bindings. */
    readonly all?: boolean | undefined;
  }), options?: CallOptions): Promise<BoundAgent>;

  /** Create a token that replaces the one before. The answer has it, once. `POST /v2/agents/{agent}/rotate` */
  rotateAgent(input: {
    readonly agent: string;
  } & ({
    /** Time for which the old token stays valid. */
    readonly overlap?: string | undefined;
    /** Letters, digits, dots, dashes and underscores. */
    readonly token_label?: string | undefined;
    readonly all?: boolean | undefined;
    /** 90d, or a date. */
    readonly expires?: string | undefined;
  }), options?: CallOptions): Promise<{
    readonly name: string;
    readonly token: string;
    readonly proxy_url: string;
    readonly label: string;
    readonly expires_at: string | null;
    readonly replaced: number;
  }>;

  /** List the active leases; with `all` also those that have ended. `GET /v2/leases` */
  listLeases(input?: {
    readonly agent?: string | undefined;
    readonly grant?: string | undefined;
    readonly all?: string | undefined;
    readonly limit?: number | undefined;
  }, options?: CallOptions): AsyncGenerator<Lease, void, undefined>;

  /** Let an agent use grants for a while. The answer has the token, once. `POST /v2/leases` */
  createLease(input: ({
    /** Letters, digits, dots, dashes and underscores. */
    readonly agent: string;
    /** Name, ID, or USER/NAME. */
    readonly grants?: readonly string[] | undefined;
    /** Credentials that only this lease may use. They are not verified, and end with it. */
    readonly credentials?: readonly ({
      /** Letters, digits, dots, dashes and underscores. */
      readonly provider: string;
      /** Letters, digits, dots, dashes and underscores. */
      readonly name?: string | undefined;
      readonly credential: Readonly<Record<string, unknown>>;
    })[] | undefined;
    /** Only these hosts without a credential: HOST, HOST:PORT, *.SUFFIX, or none. */
    readonly egress?: readonly string[] | undefined;
    readonly purpose: string;
    readonly ttl?: string | undefined;
    readonly idle?: string | undefined;
    readonly max_uses?: number | undefined;
  }), options?: CallOptions): Promise<CreatedLease>;

  /** Show a lease. `GET /v2/leases/{lease}` */
  getLease(input: {
    readonly lease: string;
  }, options?: CallOptions): Promise<LeaseInFull>;

  /** Give a lease a new end, counted from now. `POST /v2/leases/{lease}/renew` */
  renewLease(input: {
    readonly lease: string;
  } & ({
    readonly ttl?: string | undefined;
    readonly uses?: number | undefined;
  }), options?: CallOptions): Promise<RenewedLease>;

  /** End a lease, from the next request on. `POST /v2/leases/{lease}/revoke` */
  revokeLease(input: {
    readonly lease: string;
  }, options?: CallOptions): Promise<{
    readonly revoked: readonly string[];
  }>;

  /** End all leases of an agent, or all for a grant. `POST /v2/leases/revoke` */
  revokeLeases(input?: ({
    /** Letters, digits, dots, dashes and underscores. */
    readonly agent?: string | undefined;
    readonly grant?: string | undefined;
  }), options?: CallOptions): Promise<{
    readonly revoked: readonly string[];
  }>;

  /** List the requests that wait for a person. `GET /v2/approvals` */
  listApprovals(input?: {
    readonly limit?: number | undefined;
  }, options?: CallOptions): AsyncGenerator<Approval, void, undefined>;

  /** List the approvals that are in force. `GET /v2/approvals/standing` */
  listStandingApprovals(input?: {
    readonly limit?: number | undefined;
  }, options?: CallOptions): AsyncGenerator<StandingApproval, void, undefined>;

  /** Answer a request that waits. `POST /v2/approvals/{approval}` */
  answerApproval(input: {
    readonly approval: string;
  } & ({
    readonly answer: 'once' | 'lease' | 'deny';
  } | {
    readonly answer: 'for';
    readonly span: string;
  }), options?: CallOptions): Promise<Approval>;

  /** End an approval that is in force. `DELETE /v2/approvals/{approval}` */
  revokeApproval(input: {
    readonly approval: string;
  }, options?: CallOptions): Promise<StandingApproval>;

  /** List the changes that agents propose. `GET /v2/proposals` */
  listProposals(input?: {
    readonly limit?: number | undefined;
  }, options?: CallOptions): AsyncGenerator<Proposal, void, undefined>;

  /** Show a proposal, and what a yes changes. `GET /v2/proposals/{proposal}` */
  getProposal(input: {
    readonly proposal: string;
  }, options?: CallOptions): Promise<ProposalWithEffect>;

  /** Accept a proposal: a domain once or for the lease; a grant or scopes, to be connected. `POST /v2/proposals/{proposal}/accept` */
  acceptProposal(input: {
    readonly proposal: string;
  } & ({
    /** For a domain; default: once. */
    readonly reach?: 'once' | 'lease' | undefined;
  }), options?: CallOptions): Promise<ProposalWithEffect>;

  /** Accept a proposed domain for good: the config file gets an entry. `POST /v2/proposals/{proposal}/accept-for-good` */
  acceptProposalForGood(input: {
    readonly proposal: string;
  }, options?: CallOptions): Promise<ProposalWithEffect>;

  /** Decline a proposal, or end a yes that is not for good. `POST /v2/proposals/{proposal}/decline` */
  declineProposal(input: {
    readonly proposal: string;
  }, options?: CallOptions): Promise<Proposal>;

  /** List the events that meet every condition, the newest first. `GET /v2/audit/events` */
  listAuditEvents(input?: {
    readonly since?: string | undefined;
    readonly until?: string | undefined;
    readonly event?: string | undefined;
    readonly agent?: string | undefined;
    readonly grant?: string | undefined;
    readonly user?: string | undefined;
    readonly by?: string | undefined;
    readonly provider?: string | undefined;
    readonly host?: string | undefined;
    readonly outcome?: 'allow' | 'deny' | 'ok' | 'failed' | 'aborted' | undefined;
    readonly lease?: string | undefined;
    readonly exchange?: string | undefined;
    readonly code?: string | undefined;
    readonly order?: 'asc' | 'desc' | undefined;
    readonly limit?: number | undefined;
  }, options?: CallOptions): AsyncGenerator<AuditLine, void, undefined>;

  /** Stream the events that meet every condition, as server-sent events. `GET /v2/audit/stream` */
  streamAuditEvents(input?: {
    readonly since?: string | undefined;
    readonly until?: string | undefined;
    readonly event?: string | undefined;
    readonly agent?: string | undefined;
    readonly grant?: string | undefined;
    readonly user?: string | undefined;
    readonly by?: string | undefined;
    readonly provider?: string | undefined;
    readonly host?: string | undefined;
    readonly outcome?: 'allow' | 'deny' | 'ok' | 'failed' | 'aborted' | undefined;
    readonly lease?: string | undefined;
    readonly exchange?: string | undefined;
    readonly code?: string | undefined;
    readonly lines?: number | undefined;
  }, options?: CallOptions): AsyncGenerator<AuditLine, void, undefined>;

  /** Check that no line was edited, removed or cut off. `GET /v2/audit/verify` */
  verifyAudit(input?: Record<string, never>, options?: CallOptions): Promise<{
    readonly ok: boolean;
    readonly lines: number;
    readonly problems: readonly unknown[];
    readonly [name: string]: unknown;
  }>;

  /** Count requests, refusals, bytes and durations of each agent and grant. `GET /v2/audit/summary` */
  summarizeAudit(input?: {
    readonly since?: string | undefined;
    readonly until?: string | undefined;
    readonly event?: string | undefined;
    readonly agent?: string | undefined;
    readonly grant?: string | undefined;
    readonly user?: string | undefined;
    readonly by?: string | undefined;
    readonly provider?: string | undefined;
    readonly host?: string | undefined;
    readonly outcome?: 'allow' | 'deny' | 'ok' | 'failed' | 'aborted' | undefined;
    readonly lease?: string | undefined;
    readonly exchange?: string | undefined;
    readonly code?: string | undefined;
    readonly limit?: number | undefined;
  }, options?: CallOptions): AsyncGenerator<{
    readonly agent: string | null;
    readonly grant: string | null;
    readonly requests: number;
    readonly [name: string]: unknown;
  }, void, undefined>;

  /** Count exchanges, refusals, failures and refreshes over time, with the latencies. `GET /v2/metrics` */
  getMetrics(input: {
    readonly since: string;
    readonly until?: string | undefined;
    readonly step?: number | undefined;
  }, options?: CallOptions): Promise<Metrics>;

  /** Show the master keys of the store, and whether a rotation is finished. `GET /v2/key` */
  getKeys(input?: Record<string, never>, options?: CallOptions): Promise<Keys>;

  /** Rotate the master key, or resume a rotation; for sources that keep the key themselves. `POST /v2/key/rotate` */
  rotateKey(input?: {
    readonly retire?: string | undefined;
  }, options?: CallOptions): Promise<{
    readonly from: string;
    readonly to: string;
    readonly resumed: boolean;
    readonly rewrapped: number;
    readonly finished: boolean;
    /** Nodes whose key source still has the key before. */
    readonly behind: readonly Node[];
  }>;

  /** List the nodes of a store that several machines share. `GET /v2/nodes` */
  listNodes(input?: {
    readonly limit?: number | undefined;
  }, options?: CallOptions): AsyncGenerator<Node, void, undefined>;

  /** Take the master key from a node. Rotate the key after that. `DELETE /v2/nodes/{node}` */
  revokeNode(input: {
    readonly node: string;
  }, options?: CallOptions): Promise<{
    readonly name: string;
    readonly revoked: true;
  }>;

  /** Show health and open problems. `GET /v2/status` */
  getStatus(input?: Record<string, never>, options?: CallOptions): Promise<Status>;

  /** Check the setup, and the programs of this machine that use the proxy. `POST /v2/doctor` */
  runDoctor(input?: ({
    readonly only?: readonly string[] | undefined;
    readonly offline?: boolean | undefined;
  }), options?: CallOptions): Promise<{
    readonly ok: boolean;
    readonly needs: readonly ({
      readonly about?: string | undefined;
      readonly sentence: string;
      readonly hint: string | null;
      readonly [name: string]: unknown;
    })[];
    readonly [name: string]: unknown;
  }>;

  /** Show the certificate that clients trust. `GET /v2/ca` */
  getCa(input?: Record<string, never>, options?: CallOptions): Promise<{
    readonly name: string;
    readonly certificate: string;
    readonly fingerprint_sha256: string;
    readonly not_before: string;
    readonly not_after: string;
    readonly permitted_names: readonly string[];
  }>;

  /** Export the certificates that clients trust, as PEM; none of it is secret. `GET /v2/ca/certificate` */
  exportCa(input?: {
    readonly format?: 'pem' | 'bundle' | undefined;
  }, options?: CallOptions): Promise<{
    readonly format: string;
    readonly pem: string;
  }>;

  /** Return the variables that make programs use the proxy; with `agent` for a new lease. `POST /v2/environment` */
  getEnvironment(input?: ({
    /** Address of the proxy, where it is not the one in the config. */
    readonly proxy?: string | undefined;
    /** Letters, digits, dots, dashes and underscores. */
    readonly agent?: string | undefined;
    readonly grants?: readonly string[] | undefined;
    readonly ttl?: string | undefined;
  }), options?: CallOptions): Promise<{
    readonly set: Readonly<Record<string, string>>;
    readonly remove: readonly string[];
    readonly lease: string | null;
    readonly notes: readonly string[];
  }>;

  /** Send one request with a grant's credential, through the same checks as any other. `POST /v2/requests` */
  sendRequest(input: ({
    readonly method?: string | undefined;
    readonly url: string;
    /** `Name: value`. */
    readonly headers?: readonly string[] | undefined;
    readonly body?: string | undefined;
    readonly grant?: string | undefined;
    /** Letters, digits, dots, dashes and underscores. */
    readonly user?: string | undefined;
    /** Act as this agent, under a lease that ends with the request. */
    readonly agent?: string | undefined;
    readonly reason?: string | undefined;
  }), options?: CallOptions): Promise<{
    readonly status: number;
    readonly [name: string]: unknown;
  }>;

  /** Read the text of the config file. `GET /v2/config` */
  getConfig(input?: Record<string, never>, options?: CallOptions): Promise<Config>;

  /** Replace the text of the config file, if it is valid. Requires If-Match. `PUT /v2/config` */
  putConfig(input: ({
    readonly text: string;
  }), options?: CallOptions): Promise<Config>;

  /** Validate a text before it replaces the config file. `POST /v2/config/check` */
  checkConfig(input: ({
    readonly text: string;
  }), options?: CallOptions): Promise<{
    readonly ok: true;
  }>;

  /** Compare the decisions of the config with a list of requests and expected decisions (docs/rules.md). `POST /v2/config/test` */
  testConfig(input: ({
    /** YAML. */
    readonly cases: string;
  }), options?: CallOptions): Promise<{
    readonly passed: number;
    readonly failed: number;
    readonly [name: string]: unknown;
  }>;

  /** Show the paths of the config file, store, key, CA and audit log. `GET /v2/config/paths` */
  getPaths(input?: Record<string, never>, options?: CallOptions): Promise<{
    readonly config: string;
    readonly [name: string]: unknown;
  }>;

  /** List the keys of the API. `GET /v2/api-keys` */
  listApiKeys(input?: {
    readonly limit?: number | undefined;
  }, options?: CallOptions): AsyncGenerator<ApiKey, void, undefined>;

  /** Create a key with at most the scopes of the caller. The answer has it, once. `POST /v2/api-keys` */
  createApiKey(input: ({
    /** Letters, digits, dots, dashes and underscores. */
    readonly name: string;
    readonly role: 'operator' | 'approver' | 'auditor' | 'user';
    readonly scopes?: readonly ('grants:read' | 'grants:write' | 'tokens:read' | 'tokens:write' | 'access:read' | 'access:write' | 'approvals:read' | 'approvals:write' | 'audit:read' | 'config:read' | 'config:write' | 'requests:send' | 'status:read')[] | undefined;
    /** Letters, digits, dots, dashes and underscores. */
    readonly user?: string | undefined;
    /** Letters, digits, dots, dashes and underscores. */
    readonly person?: string | undefined;
    /** 90d, a date, or none. */
    readonly expires?: string | undefined;
  }), options?: CallOptions): Promise<CreatedApiKey>;

  /** End a key at once. `DELETE /v2/api-keys/{key}` */
  revokeApiKey(input: {
    readonly key: string;
  }, options?: CallOptions): Promise<{
    readonly name: string;
    readonly revoked: true;
  }>;

  /** Show the caller. `GET /v2/me` */
  getMe(input?: Record<string, never>, options?: CallOptions): Promise<Me>;

  /** List the people who sign in at the pages. `GET /v2/people` */
  listPeople(input?: {
    readonly limit?: number | undefined;
  }, options?: CallOptions): AsyncGenerator<Person, void, undefined>;

  /** Create a person. `POST /v2/people` */
  createPerson(input: ({
    /** Letters, digits, dots, dashes and underscores. */
    readonly name: string;
    readonly role: 'operator' | 'approver' | 'auditor' | 'user';
    /** Letters, digits, dots, dashes and underscores. */
    readonly user?: string | undefined;
  }), options?: CallOptions): Promise<Person>;

  /** Show a person. `GET /v2/people/{person}` */
  getPerson(input: {
    readonly person: string;
  }, options?: CallOptions): Promise<Person>;

  /** Change the role of a person; disable or enable the person. `PATCH /v2/people/{person}` */
  changePerson(input: {
    readonly person: string;
  } & ({
    readonly role?: 'operator' | 'approver' | 'auditor' | 'user' | undefined;
    readonly disabled?: boolean | undefined;
  }), options?: CallOptions): Promise<Person>;

  /** Remove a person with passkeys and sessions. `DELETE /v2/people/{person}` */
  removePerson(input: {
    readonly person: string;
  }, options?: CallOptions): Promise<{
    readonly name: string;
    readonly removed: true;
  }>;

  /** Make an address that signs a person in, once, within 10 minutes. `POST /v2/people/{person}/link` */
  linkPerson(input: {
    readonly person: string;
  }, options?: CallOptions): Promise<{
    readonly name: string;
    readonly url: string;
    readonly expires_at: string;
  }>;

  /** Let a command line get a key of the signed-in person, of at most 12 hours. `POST /v2/me/login-codes` */
  createLoginCode(input: ({
    /** SHA-256 of the verifier of the command line, in base64url (RFC 7636). */
    readonly challenge: string;
  }), options?: CallOptions): Promise<{
    readonly code: string;
  }>;

  /** End the key of this request. `DELETE /v2/me/key` */
  revokeOwnKey(input?: Record<string, never>, options?: CallOptions): Promise<{
    readonly name: string;
    readonly revoked: true;
  }>;
}

type Operation = readonly [
  method: string,
  path: string,
  kind: 'one' | 'list' | 'stream',
  query: readonly string[],
];

/** Method, path, kind and query of each operation. */
export const operations: Readonly<Record<keyof Operations, Operation>> = {
  createToken: ['POST', '/v2/users/{user}/tokens', 'one', []],
  listTokens: ['GET', '/v2/users/{user}/tokens', 'list', ['limit']],
  getToken: ['GET', '/v2/users/{user}/tokens/{integration_key}', 'one', []],
  deleteToken: ['DELETE', '/v2/users/{user}/tokens/{integration_key}', 'one', []],
  refreshToken: ['POST', '/v2/users/{user}/tokens/{integration_key}/refresh', 'one', []],
  listGrants: ['GET', '/v2/grants', 'list', ['user', 'limit']],
  addGrant: ['POST', '/v2/grants', 'one', []],
  getGrant: ['GET', '/v2/grants/{grant}', 'one', ['user']],
  changeGrant: ['PATCH', '/v2/grants/{grant}', 'one', ['user']],
  removeGrant: ['DELETE', '/v2/grants/{grant}', 'one', ['user', 'local']],
  refreshGrant: ['POST', '/v2/grants/{grant}/refresh', 'one', ['user']],
  revokeGrant: ['POST', '/v2/grants/{grant}/revoke', 'one', ['user']],
  createConnectSession: ['POST', '/v2/connect-sessions', 'one', []],
  createDeviceSession: ['POST', '/v2/connect-sessions/device', 'one', []],
  getConnectSession: ['GET', '/v2/connect-sessions/{id}', 'one', []],
  listDomains: ['GET', '/v2/domains', 'list', ['limit']],
  previewDomain: ['POST', '/v2/domains/preview', 'one', []],
  getDomain: ['GET', '/v2/domains/{host}', 'one', []],
  putDomain: ['PUT', '/v2/domains/{host}', 'one', []],
  removeDomain: ['DELETE', '/v2/domains/{host}', 'one', []],
  listProviders: ['GET', '/v2/providers', 'list', ['text', 'limit']],
  getProvider: ['GET', '/v2/providers/{provider}', 'one', []],
  explainRequest: ['POST', '/v2/explain', 'one', []],
  listAgents: ['GET', '/v2/agents', 'list', ['limit']],
  createAgent: ['POST', '/v2/agents', 'one', []],
  getAgent: ['GET', '/v2/agents/{agent}', 'one', []],
  changeAgent: ['PATCH', '/v2/agents/{agent}', 'one', []],
  removeAgent: ['DELETE', '/v2/agents/{agent}', 'one', ['token_label']],
  bindAgent: ['POST', '/v2/agents/{agent}/bind', 'one', []],
  rotateAgent: ['POST', '/v2/agents/{agent}/rotate', 'one', []],
  listLeases: ['GET', '/v2/leases', 'list', ['agent', 'grant', 'all', 'limit']],
  createLease: ['POST', '/v2/leases', 'one', []],
  getLease: ['GET', '/v2/leases/{lease}', 'one', []],
  renewLease: ['POST', '/v2/leases/{lease}/renew', 'one', []],
  revokeLease: ['POST', '/v2/leases/{lease}/revoke', 'one', []],
  revokeLeases: ['POST', '/v2/leases/revoke', 'one', []],
  listApprovals: ['GET', '/v2/approvals', 'list', ['limit']],
  listStandingApprovals: ['GET', '/v2/approvals/standing', 'list', ['limit']],
  answerApproval: ['POST', '/v2/approvals/{approval}', 'one', []],
  revokeApproval: ['DELETE', '/v2/approvals/{approval}', 'one', []],
  listProposals: ['GET', '/v2/proposals', 'list', ['limit']],
  getProposal: ['GET', '/v2/proposals/{proposal}', 'one', []],
  acceptProposal: ['POST', '/v2/proposals/{proposal}/accept', 'one', []],
  acceptProposalForGood: ['POST', '/v2/proposals/{proposal}/accept-for-good', 'one', []],
  declineProposal: ['POST', '/v2/proposals/{proposal}/decline', 'one', []],
  listAuditEvents: ['GET', '/v2/audit/events', 'list', ['since', 'until', 'event', 'agent', 'grant', 'user', 'by', 'provider', 'host', 'outcome', 'lease', 'exchange', 'code', 'order', 'limit']],
  streamAuditEvents: ['GET', '/v2/audit/stream', 'stream', ['since', 'until', 'event', 'agent', 'grant', 'user', 'by', 'provider', 'host', 'outcome', 'lease', 'exchange', 'code', 'lines']],
  verifyAudit: ['GET', '/v2/audit/verify', 'one', []],
  summarizeAudit: ['GET', '/v2/audit/summary', 'list', ['since', 'until', 'event', 'agent', 'grant', 'user', 'by', 'provider', 'host', 'outcome', 'lease', 'exchange', 'code', 'limit']],
  getMetrics: ['GET', '/v2/metrics', 'one', ['since', 'until', 'step']],
  getKeys: ['GET', '/v2/key', 'one', []],
  rotateKey: ['POST', '/v2/key/rotate', 'one', ['retire']],
  listNodes: ['GET', '/v2/nodes', 'list', ['limit']],
  revokeNode: ['DELETE', '/v2/nodes/{node}', 'one', []],
  getStatus: ['GET', '/v2/status', 'one', []],
  runDoctor: ['POST', '/v2/doctor', 'one', []],
  getCa: ['GET', '/v2/ca', 'one', []],
  exportCa: ['GET', '/v2/ca/certificate', 'one', ['format']],
  getEnvironment: ['POST', '/v2/environment', 'one', []],
  sendRequest: ['POST', '/v2/requests', 'one', []],
  getConfig: ['GET', '/v2/config', 'one', []],
  putConfig: ['PUT', '/v2/config', 'one', []],
  checkConfig: ['POST', '/v2/config/check', 'one', []],
  testConfig: ['POST', '/v2/config/test', 'one', []],
  getPaths: ['GET', '/v2/config/paths', 'one', []],
  listApiKeys: ['GET', '/v2/api-keys', 'list', ['limit']],
  createApiKey: ['POST', '/v2/api-keys', 'one', []],
  revokeApiKey: ['DELETE', '/v2/api-keys/{key}', 'one', []],
  getMe: ['GET', '/v2/me', 'one', []],
  listPeople: ['GET', '/v2/people', 'list', ['limit']],
  createPerson: ['POST', '/v2/people', 'one', []],
  getPerson: ['GET', '/v2/people/{person}', 'one', []],
  changePerson: ['PATCH', '/v2/people/{person}', 'one', []],
  removePerson: ['DELETE', '/v2/people/{person}', 'one', []],
  linkPerson: ['POST', '/v2/people/{person}/link', 'one', []],
  createLoginCode: ['POST', '/v2/me/login-codes', 'one', []],
  revokeOwnKey: ['DELETE', '/v2/me/key', 'one', []],
};
