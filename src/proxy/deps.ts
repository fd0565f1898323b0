import type { Socket } from 'node:net';
import type { SecureContext } from 'node:tls';
import type { AgentAuthenticator } from '../agents/authentication.ts';
import type { ApprovalQueue } from '../approvals/queue.ts';
import type { AuditLog } from '../audit/event.ts';
import type { ActivityNotes } from '../grants/activity.ts';
import type { SealedCredential } from '../grants/credential.ts';
import type { InjectPlace, Provider } from '../grants/provider.ts';
import type { Registry } from '../grants/registry.ts';
import type { TokenSource } from '../grants/token-source.ts';
import type { SidekeyError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { Timers } from '../lib/timers.ts';
import type { PlaceholderCodes } from '../placeholders/codes.ts';
import type { Policy } from '../policy/decide.ts';
import type { Limits } from '../policy/limits.ts';
import type { Quota } from '../quota/quota.ts';
import type { Nonces } from '../schemes/dpop-proof.ts';
import type { Destination } from '../schemes/placement.ts';
import type { Dialer } from '../upstream/dialer.ts';
import type { Connections } from '../upstream/h1-pool.ts';
import type { Streams } from '../upstream/h2-pool.ts';
import type { Protocols } from '../upstream/protocol.ts';
import type { EchoLimit } from './limits.ts';
import type { PathRedactor } from './path-redaction.ts';
import type { CertificateWatch } from './revalidate.ts';

/** What an exchange is given to work with. `main` makes it. */
export interface ProxyServices {
  /**
   * What the config file says now: read anew where it has changed, and not a promise where it has not. An exchange that
   * has waited asks again.
   */
  readonly config: () => ConfigSnapshot | Promise<ConfigSnapshot>;
  /** What it said when it was last read: for what is no request, and cannot wait. */
  readonly lastConfig: () => ConfigSnapshot;
  readonly agents: AgentAuthenticator;
  readonly grants: Pick<Registry, 'find'>;
  /** Has what was made with a certificate end with it. */
  readonly identities: Pick<CertificateWatch, 'watch'>;
  readonly tokens: Pick<TokenSource, 'tokenFor' | 'forceRefresh'>;
  readonly activity: Pick<ActivityNotes, 'lacked'>;
  /** What upstreams want to see in proofs, by origin. */
  readonly nonces: Nonces;
  readonly audit: AuditLog;
  /** What is left of the limits of rules. */
  readonly quota: Quota;
  /** How often responses may show a credential. */
  readonly leakLimit: EchoLimit;
  /** Where requests wait for people. */
  readonly approvals: Pick<ApprovalQueue, 'ask' | 'stands'>;
  /** A keyed fingerprint: what the audit says of a credential. */
  readonly fingerprint: (sealed: SealedCredential) => string;
  /** Makes placeholders, and knows them again. */
  readonly placeholders: PlaceholderCodes;
  /** A certificate for a host, ready to be served. */
  readonly leafFor: (host: string) => SecureContext;
  readonly log: Log;
  readonly now: () => number;
  /** Which callers on this machine may come without a token, where the config lets those in; left out: all. */
  readonly isTrustedPeer?: ((socket: Socket) => boolean) | undefined;
  readonly timers: Timers;
}

/** What can change while the proxy runs. */
export interface ConfigSnapshot {
  readonly policy: Policy;
  readonly agents: 'required' | 'optional';
  readonly limits: Limits;
  readonly dialer: Dialer;
  readonly connections: Connections;
  readonly streams: Streams;
  readonly protocols: Protocols;
  /** How a provider's tokens are carried to there, or why they are not. */
  readonly injectPlan: (provider: string, to: Destination) => InjectPlace['as'] | SidekeyError;
  /** The definition of a provider, which says how a person can mend a grant. */
  readonly provider: (name: string) => Provider | undefined;
  readonly redactPath: PathRedactor;
}
