import type { Provider } from '../grants/provider.ts';
import type { Domain } from '../policy/domain-map.ts';
import type { Limits } from '../policy/limits.ts';

/** One validated, frozen configuration. All paths are absolute; all durations are milliseconds. */
export interface Config {
  /** The file it came from. */
  readonly file: string;
  readonly proxy: {
    readonly listen: { readonly host: string; readonly port: number };
    readonly agents: 'optional' | 'required';
    readonly unmatched: 'deny' | 'tunnel';
  };
  readonly store: { readonly kind: 'sqlite'; readonly path: string };
  readonly key: KeySourceConfig;
  readonly ca: { readonly directory: string; readonly permittedNames: readonly string[] };
  readonly audit: { readonly file: string; readonly maxBytes: number };
  readonly tokens: {
    /** How long before its end a token is due for a refresh. */
    readonly skewMs: number;
  };
  readonly upstream: {
    /** Paths of PEM files with trust anchors besides the system's. */
    readonly ca: readonly string[];
    /** Host → address, like `curl --resolve`. */
    readonly resolve: ReadonlyMap<string, string>;
    /** CIDRs that may be dialed besides public addresses. */
    readonly privateAddresses: readonly string[];
  };
  readonly domains: readonly Domain[];
  /** The built-in catalog and the file's own, by name. */
  readonly providers: ReadonlyMap<string, Provider>;
  readonly limits: Limits;
  readonly log: { readonly level: 'fatal' | 'error' | 'warn' | 'info' | 'debug' };
}

/** Where the master key comes from; the path is absolute. */
export type KeySourceConfig =
  { readonly source: 'file'; readonly path: string } | { readonly source: 'env'; readonly name: string };
