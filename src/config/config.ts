import { dirname, resolve } from 'node:path';
import { canonicalHost, isOwn } from '../proxy/policy/authority.ts';
import { type Domain, isPattern, parsePattern } from '../proxy/policy/domain-map.ts';
import { defaultLimits, type LimitName, type Limits, limitTable } from '../proxy/policy/limits.ts';
import { regionOfCluster } from '../proxy/schemes/sigv4/scope.ts';
import type { DomainRules } from '../proxy/policy/rule.ts';
import { type AgentIssuer, toAgentIssuers } from './agent-issuers.ts';
import { type AdminConfig, toAdminConfig } from './admin.ts';
import { type ApprovalsConfig, toApprovalsConfig } from './approvals.ts';
import { type AuditConfig, toAuditConfig } from './audit.ts';
import type { ConfigDocument } from './document.ts';
import { type KeySourceConfig, toKeyConfig } from './key.ts';
import { formatPath, type Path, type Problem } from './problem.ts';
import { type DefineProvidersOptions, defineProviders } from './provider-resolve.ts';
import type { Providers } from './providers.ts';
import { defineRules, type Policies } from './rules-resolve.ts';
import { type ClientName, clientNames, type ConfigValues } from './schema.ts';
import type { StoreConfig } from './store-place.ts';
import type { TelemetryConfig } from './telemetry.ts';
import { toUpstreamConfig, type UpstreamConfig } from './upstream.ts';
import { type ProxyConfig, toProxyConfig } from './proxy.ts';
import { toVaultServer, type VaultServer } from './vaults.ts';

/** One validated, frozen configuration. All paths are absolute; all durations are milliseconds. */
export interface Config {
  readonly file: string;
  /** SHA-256 of the text of the file. */
  readonly digest: string;
  readonly proxy: ProxyConfig;
  /** Number of serving processes; null: depends on the machine. */
  readonly workers: number | 'auto' | null;
  readonly admin: AdminConfig;
  readonly approvals: ApprovalsConfig;
  readonly store: StoreConfig;
  readonly key: KeySourceConfig;
  readonly ca: { readonly directory: string; readonly permittedNames: readonly string[] };
  readonly audit: AuditConfig;
  readonly telemetry: TelemetryConfig;
  /** Confinement of the commands of `sidekey run`. */
  readonly run: {
    readonly isolate: 'auto' | 'off';
    readonly show: readonly string[];
    readonly write: readonly string[];
    readonly sockets: readonly string[];
  };
  /** Clients whose variables `run` and `env` do not set. */
  readonly clientsOff: ReadonlySet<ClientName>;
  readonly tokens: {
    /** Milliseconds before its expiry at which a token is due for a refresh. */
    readonly skewMs: number;
    /** Milliseconds after its last use for which the token of a grant is refreshed ahead of use. */
    readonly keepFreshMs: number;
  };
  /** Lifetimes of leases; providers and grants may set less. */
  readonly leases: {
    readonly defaultTtlMs: number;
    readonly maxTtlMs: number;
    /** True: the end of a lease revokes the access tokens that it alone used. */
    readonly revokesTokens: boolean;
  };
  readonly agentIssuers: readonly AgentIssuer[];
  readonly upstream: UpstreamConfig;
  /** Servers of HashiCorp Vault and OpenBao, by name. */
  readonly vaults: ReadonlyMap<string, VaultServer>;
  readonly domains: readonly Domain[];
  /** Restricts an entry like the domains of this file. Not part of the file; absent: no restriction. */
  readonly restrict?: ((domain: Domain) => Domain) | undefined;
  /** Named rules of the file. */
  readonly policies: Policies;
  /** The built-in catalog and the providers of the file, by name. */
  readonly providers: Providers;
  readonly limits: Limits;
  readonly log: { readonly level: 'fatal' | 'error' | 'warn' | 'info' | 'debug' };
}

/** Context for the resolution of values. */
interface ResolveOptions extends Omit<DefineProvidersOptions, 'own'> {
  /** See `Config.digest`. */
  readonly digest: string;
}

/**
 * Converts validated values to the configuration, with absolute paths, canonical keys and complete providers.
 */
export function resolveConfig(
  values: ConfigValues,
  options: ResolveOptions,
): { readonly config: Config; readonly problems: readonly Problem[] } {
  const { file, document, name, digest } = options;
  const absolute = (path: string): string => resolve(dirname(file), path);
  const { providers, problems } = defineProviders({ ...options, own: values.providers });
  const rules = defineRules(values, { document, name });
  const agents = toAgentIssuers(values.agent_issuers, absolute, document);
  const config: Config = {
    file,
    digest,
    proxy: toProxyConfig(values.proxy, absolute),
    workers: values.workers ?? null,
    admin: toAdminConfig(values.admin, absolute),
    approvals: toApprovalsConfig(values.approvals),
    store: toStore(values.store, absolute),
    key: toKeyConfig(values.key, absolute),
    ca: { directory: absolute(values.ca.directory), permittedNames: values.ca.permitted_names },
    audit: toAuditConfig(values.audit, absolute),
    telemetry: { traces: values.telemetry.traces ?? null },
    run: toRun(values.run, absolute),
    clientsOff: new Set(clientNames.filter((client) => values.clients[client] === 'off')),
    tokens: { skewMs: values.tokens.refresh_before_expiry, keepFreshMs: values.tokens.background_refresh },
    leases: {
      defaultTtlMs: values.leases.default_ttl,
      maxTtlMs: values.leases.max_ttl,
      revokesTokens: values.leases.revoke === 'token',
    },
    agentIssuers: agents.issuers,
    upstream: toUpstreamConfig(values.upstream, { absolute, document, name }),
    vaults: new Map(
      Object.entries(values.vaults).map(([key, it]) => [key, toVaultServer(it, absolute, `vaults.${key}`)]),
    ),
    domains: Object.entries(values.domains).flatMap(([key, value]) => {
      const path: Path = ['domains', key];
      const origin = `${formatPath(path)} (${name}:${document.position(path, 'key').line})`;
      return toDomain(key, value, origin).map((domain) => withRules(domain, rules.of(key, domain.pattern)));
    }),
    policies: rules.policies,
    providers,
    limits: toLimits(values.limits),
    log: values.log,
  };
  return { config, problems: [...problems, ...rules.problems, ...agents.problems] };
}

function toRun(
  { isolate, ...paths }: ConfigValues['run'],
  absolute: (path: string) => string,
): Config['run'] {
  return {
    isolate,
    show: paths.show.map(absolute),
    write: paths.write.map(absolute),
    sockets: paths.sockets.map(absolute),
  };
}

function toStore(values: ConfigValues['store'], absolute: (path: string) => string): StoreConfig {
  const { url, password, connections } =
    'kind' in values ? { url: values, password: undefined, connections: undefined } : values;
  if (url.kind === 'sqlite') return { kind: 'sqlite', path: absolute(url.path) };
  const { rootCertificate } = url.address;
  const address = {
    ...url.address,
    rootCertificate: rootCertificate === null ? null : absolute(rootCertificate),
  };
  return { kind: 'postgres', address, password: password ?? null, connections };
}

function withRules(domain: Domain, rules: DomainRules | null): Domain {
  return rules === null ? domain : { ...domain, rules };
}

function toDomain(key: string, value: ConfigValues['domains'][string], origin: string): Domain[] {
  const pattern = parsePattern(key);
  // The schema rejects invalid patterns.
  if (!isPattern(pattern)) return [];
  if (value === 'tunnel' || value === 'deny') return [{ pattern, action: { kind: value }, origin }];
  const { grant, allow_plain_http: allowPlainHttp, leak_guard: leakGuard, leak_limit: leakLimit } = value;
  const { foreign_credentials: foreignCredentials, also, mints } = value;
  const use = { grant, allowPlainHttp, leakGuard, leakLimit, foreignCredentials, also, mints };
  const domain: Domain = { pattern, action: { kind: 'grant', ...use }, origin };
  const { eks_cluster: cluster } = value;
  const region = regionOfCluster(pattern.host);
  // The schema rejects another host.
  if (cluster === undefined || region === null) return [domain];
  return [{ ...domain, as: { kind: 'eks', cluster, region } }];
}

function toLimits(set: ConfigValues['limits']): Limits {
  const names = Object.keys(limitTable) as LimitName[];
  return Object.fromEntries(names.map((name) => [name, set[name] ?? defaultLimits[name]])) as Limits;
}

/**
 * Finds keys with the same canonical form (`API.github.com`, `api.github.com.`), of which only one would
 * apply. Accepts invalid documents.
 */
export function findSameKeys(document: ConfigDocument): Problem[] {
  const root = asMap(document.value);
  const upstream = asMap(root['upstream']);
  return [
    ...sameKeys(document, ['domains'], root['domains'], patternOf),
    ...['host_ca', 'resolve'].flatMap((map) =>
      sameKeys(document, ['upstream', map], upstream[map], (key) => canonicalHost(key) ?? key),
    ),
    ...sameKeys(document, ['upstream', 'client_certificates'], upstream['client_certificates'], patternOf),
  ];
}

/** Finds entries of the map for the proxy itself, which would have no effect. */
export function findOwnHost(document: ConfigDocument): Problem[] {
  return Object.keys(asMap(asMap(document.value)['domains'])).flatMap((key) => {
    const pattern = parsePattern(key);
    if (!isPattern(pattern) || pattern.wildcard || !isOwn(pattern)) return [];
    const path: Path = ['domains', key];
    const message = 'is the proxy itself, which says there what a caller may call; no entry can be about it';
    return [{ ...document.position(path, 'key'), path, message }];
  });
}

function patternOf(key: string): string {
  const pattern = parsePattern(key);
  return isPattern(pattern) ? pattern.text : key;
}

function sameKeys(
  document: ConfigDocument,
  path: Path,
  map: unknown,
  canonical: (key: string) => string,
): Problem[] {
  const firstOf = new Map<string, string>();
  return Object.keys(asMap(map)).flatMap((key) => {
    const first = firstOf.get(canonical(key));
    firstOf.set(canonical(key), first ?? key);
    if (first === undefined) return [];
    const { line } = document.position([...path, first], 'key');
    const here: Path = [...path, key];
    const message = `means the same as ${JSON.stringify(first)} on line ${line}`;
    return [{ ...document.position(here, 'key'), path: here, message }];
  });
}

function asMap(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : {};
}
