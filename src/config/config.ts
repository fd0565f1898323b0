import type { Domain } from '../policy/domain-map.ts';
import type { Limits } from '../policy/limits.ts';
import type { AdminConfig, ApprovalsConfig } from './approvals.ts';
import type { AuditConfig } from './audit.ts';
import type { Policies } from './rules-resolve.ts';
import type { Providers } from './providers.ts';
import type { UpstreamConfig } from './upstream.ts';

/** One validated, frozen configuration. All paths are absolute; all durations are milliseconds. */
export interface Config {
  /** The file it came from. */
  readonly file: string;
  /** SHA-256 of the file's text: the same for the same text. */
  readonly digest: string;
  readonly proxy: {
    readonly listen: { readonly host: string; readonly port: number };
    readonly authentication: 'optional' | 'required';
    readonly unmatchedHosts: 'deny' | 'tunnel';
  };
  /** How many processes serve; null: the machine decides. */
  readonly workers: number | 'auto' | null;
  readonly admin: AdminConfig;
  readonly approvals: ApprovalsConfig;
  readonly store: { readonly kind: 'sqlite'; readonly path: string };
  readonly key: KeySourceConfig;
  readonly ca: { readonly directory: string; readonly permittedNames: readonly string[] };
  readonly audit: AuditConfig;
  readonly tokens: {
    /** How long before its end a token is due for a refresh. */
    readonly skewMs: number;
    /** How long after its last use a grant's token is still refreshed before anybody asks for it. */
    readonly keepFreshMs: number;
  };
  /** How long leases last; providers and grants may set less. */
  readonly leases: { readonly defaultTtlMs: number; readonly maxTtlMs: number };
  readonly upstream: UpstreamConfig;
  readonly domains: readonly Domain[];
  /** Rules that the file gives a name. */
  readonly policies: Policies;
  /** The built-in catalog and the file's own, by name. */
  readonly providers: Providers;
  readonly limits: Limits;
  readonly log: { readonly level: 'fatal' | 'error' | 'warn' | 'info' | 'debug' };
}

/** Where the master key comes from; the path is absolute. */
type KeySourceConfig =
  { readonly source: 'file'; readonly path: string } | { readonly source: 'env'; readonly name: string };
