import type { Socket } from 'node:net';
import type { SecureContext } from 'node:tls';
import { type AgentAuthenticator, type CallerMode, callerMode } from '../agents/authentication.ts';
import type { Proposals } from '../agents/approvals/proposals.ts';
import type { ApprovalQueue } from '../agents/approvals/queue.ts';
import type { AuditLog } from '../domain/event.ts';
import type { Config } from '../config/config.ts';
import type { ActivityNotes } from '../grants/activity.ts';
import type { SealedCredential } from '../domain/credential.ts';
import type { LoginExchange, LoginOutcome } from '../grants/keep-login.ts';
import type { Grant } from '../domain/grant.ts';
import type { Placement, Provider } from '../domain/provider.ts';
import type { Registry } from '../grants/registry.ts';
import type { TokenSource } from '../grants/token-source.ts';
import type { SidekeyError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { PeerOwner } from '../lib/os.ts';
import type { Timers } from '../lib/timers.ts';
import type { PlaceholderCodes } from './placeholders/codes.ts';
import type { Policy } from './policy/decide.ts';
import { createDomainMap, matchesAnyPattern, type MintRow, patternsOf } from './policy/domain-map.ts';
import type { Limits } from './policy/limits.ts';
import type { Quota } from '../agents/quota/quota.ts';
import { CredentialFinder } from './schemes/forms.ts';
import type { Nonces } from './schemes/dpop-proof.ts';
import { createPathRedactor, type Destination, type PathRedactor, placementAt } from './schemes/placement.ts';
import type { ProcessFigures } from './telemetry/figures.ts';
import type { Tracer } from './telemetry/traces.ts';
import type { UpstreamClient } from './upstream/client.ts';
import type { MintKeeper } from './mint-reply.ts';
import type { AgentLoad, LeakLimit } from './rule-limits.ts';
import type { CertificateWatch } from './revalidate.ts';

/** Parts that the stages of an exchange use. `main` makes them; those of `explain` change nothing. */
export interface ProxyServices {
  /**
   * Returns the config in force: a promise only if the file has changed and is read again. A stage that has
   * waited calls it again.
   */
  readonly config: () => ConfigSnapshot | Promise<ConfigSnapshot>;
  /** Returns the config that was read last, for code that cannot wait. */
  readonly lastConfig: () => ConfigSnapshot;
  readonly agents: AgentAuthenticator;
  readonly grants: Pick<Registry, 'find' | 'first' | 'minted'>;
  readonly certificates: Pick<CertificateWatch, 'watch'>;
  readonly tokens: Pick<TokenSource, 'peek' | 'tokenFor' | 'forceRefresh'>;
  readonly activity: Pick<ActivityNotes, 'lacked'>;
  /** Sends the token request of a program that logs in, and keeps the tokens. */
  readonly keepLogin: (exchange: LoginExchange) => Promise<LoginOutcome>;
  /** Stores the credentials that answers hand out, and ends those that no client received. */
  readonly mint: MintKeeper;
  /** DPoP nonces of upstreams, by origin. */
  readonly nonces: Nonces;
  readonly audit: AuditLog;
  readonly quota: Quota;
  readonly figures: Pick<ProcessFigures, 'exchanged'>;
  /** Null: nothing is traced. */
  readonly tracer: Pick<Tracer, 'begin'> | null;
  readonly leakLimit: LeakLimit;
  readonly load: AgentLoad;
  readonly approvals: Pick<ApprovalQueue, 'ask' | 'stands'>;
  /** Changes that callers ask a person for. Asked for a host only where the map does not list it. */
  readonly proposals: Proposals;
  /** Returns the keyed hash that names a credential in the audit. */
  readonly fingerprint: (sealed: SealedCredential) => string;
  readonly placeholders: PlaceholderCodes;
  /** Returns the TLS context with the certificate of a host. */
  readonly leafFor: (host: string) => SecureContext;
  readonly log: Log;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Returns the owner of the client of a local connection; absent: the one that the system reports. */
  readonly peerOwner?: ((socket: Socket) => Promise<PeerOwner>) | undefined;
  readonly timers: Timers;
}

/** Values of the config that can change at run time. One exchange uses one snapshot until it has waited. */
export interface ConfigSnapshot extends UpstreamParts {
  readonly policy: Policy;
  readonly agents: CallerMode;
  readonly limits: Limits;
  /** Returns how the credential of a grant is carried to a destination, or why it is not. */
  readonly placementFor: (
    grant: Pick<Grant, 'provider'> & Partial<Pick<Grant, 'mint'>>,
    to: Destination,
  ) => Placement | SidekeyError;
  readonly provider: (name: string) => Provider | undefined;
  /** Reports whether grants of a provider may have minted grants below them. */
  readonly hasMints: (provider: string) => boolean;
  readonly redactPath: PathRedactor;
  /** Returns the finder of credentials by the forms of all providers: always the same. */
  readonly credentialFinder: () => CredentialFinder;
}

/** Connections to upstreams, made with one config. */
type UpstreamParts = Pick<UpstreamClient, 'dialer' | 'connections' | 'streams' | 'protocols'>;

/** Placement if the provider is no longer defined. One object, because plans compare by identity. */
const bearer: Placement = { kind: 'bearer' };

const noRows: readonly MintRow[] = [];

/** Returns the snapshot of a config. */
export function snapshotOf(
  { proxy, domains, limits, providers }: Pick<Config, 'proxy' | 'domains' | 'limits' | 'providers'>,
  { dialer, connections, streams, protocols }: UpstreamParts,
): ConfigSnapshot {
  let finder: CredentialFinder | undefined;
  const ofDomains = domains.flatMap(
    ({ action }) => (action.kind === 'grant' ? action.mints : null) ?? noRows,
  );
  const map = createDomainMap(domains);
  const isPlaced = domains.some(({ as }) => as !== undefined);
  return {
    policy: { domains: map, unmatched: proxy.unmatchedHosts },
    agents: callerMode(proxy),
    limits,
    dialer,
    connections,
    streams,
    protocols,
    placementFor: ({ provider, mint = null }, to) => {
      const { inject: places, mints = noRows } = providers.get(provider) ?? {};
      // Rows of several domains may have one name.
      const isRow = ({ name, goesTo }: MintRow) =>
        name === mint && matchesAnyPattern(patternsOf(goesTo), to.authority);
      const row = mint === null ? undefined : [...mints, ...ofDomains].find(isRow);
      if (row !== undefined && row.as !== null) return row.as;
      const as = isPlaced ? map.match(to.authority)?.as : undefined;
      if (as !== undefined) return as;
      return places === undefined ? bearer : placementAt(places, to);
    },
    provider: (name) => providers.get(name),
    hasMints: (provider) => ofDomains.length > 0 || (providers.get(provider)?.mints ?? noRows).length > 0,
    redactPath: createPathRedactor(providers),
    credentialFinder: () => (finder ??= new CredentialFinder(providers.forms())),
  };
}
