import type { SecureContext } from 'node:tls';
import type { Dispatcher } from 'undici';
import type { AuditLog } from '../audit/event.ts';
import type { SealedCredential } from '../grants/credential.ts';
import type { InjectPlan } from '../grants/provider.ts';
import type { Registry } from '../grants/registry.ts';
import type { TokenSource } from '../grants/token-source.ts';
import type { Policy } from '../policy/decide.ts';
import type { Limits } from '../policy/limits.ts';
import type { Log } from '../log.ts';
import type { Dialer } from '../upstream/dial.ts';
import type { AgentRegister } from './agent.ts';

/** What an exchange is given to work with. `main` makes it. */
export interface Rooms {
  /** What the config file says now. One exchange uses one answer throughout. */
  readonly settings: () => Settings;
  readonly agents: AgentRegister;
  readonly grants: Pick<Registry, 'find'>;
  readonly tokens: Pick<TokenSource, 'tokenFor' | 'forceRefresh'>;
  readonly audit: AuditLog;
  /** A keyed fingerprint: what the audit says of a credential. */
  readonly fingerprint: (sealed: SealedCredential) => string;
  /** A certificate for a host, ready to be served. */
  readonly leafFor: (host: string) => SecureContext;
  readonly log: Log;
  readonly now: () => number;
}

/** What can change while the proxy runs. */
export interface Settings {
  readonly policy: Policy;
  readonly agents: 'required' | 'optional';
  readonly limits: Limits;
  readonly dialer: Dialer;
  readonly pool: Dispatcher;
  /** How a provider's tokens are carried. */
  readonly injectPlan: (provider: string) => InjectPlan;
}
