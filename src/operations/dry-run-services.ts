import { callerMode, type Identity } from '../agents/authentication.ts';
import { type AuthenticatorParts, createAgentAuthenticator } from '../agents/authenticator.ts';
import { createProposedPolicies } from '../agents/approvals/proposals.ts';
import type { TokenIdentities } from '../agents/token-identity.ts';
import { type HeldCredential, keysText, type SealedCredential } from '../domain/credential.ts';
import type { Placement } from '../domain/provider.ts';
import type { SidekeyError } from '../lib/errors.ts';
import { createGone, type Presented, type Reply } from '../proxy/http/message.ts';
import { AgentLoad } from '../proxy/rule-limits.ts';
import { newDpopKey } from '../proxy/schemes/dpop-proof.ts';
import { schemeOf } from '../proxy/schemes/placement.ts';
import type { ConfigSnapshot, ProxyServices } from '../proxy/services.ts';
import type { Reading } from './operation.ts';
import type { Question } from './dry-run-request.ts';

/** Parts of the proxy for a dry run: they read, and change nothing. */

/** Returns services that count no use, write no event and send nothing. */
export function idleServices(
  parts: Pick<Reading, 'config' | 'store'>,
  at: number,
  snapshot: ConfigSnapshot,
): Omit<ProxyServices, 'agents' | 'grants' | 'tokens' | 'keepLogin' | 'approvals' | 'log'> {
  const config = () => snapshot;
  return {
    config,
    lastConfig: config,
    certificates: { watch() {} },
    activity: { lacked() {} },
    mint: {
      keep: () => Promise.reject(new Error('a dry run gets no answer')),
      forget: async () => {},
      answering() {},
    },
    nonces: { of: () => null, remember() {} },
    audit: { append: async () => {}, write: () => undefined, note() {}, close: async () => {} },
    quota: { take: () => ({ ok: true }), spend: () => ({ ok: true }), close() {} },
    figures: { exchanged() {} },
    tracer: null,
    leakLimit: { refusal: () => null, count: async () => null },
    load: new AgentLoad(),
    proposals: proposalsOf(parts, at),
    fingerprint: () => '',
    placeholders: { make: () => '', find: () => [], isOf: () => false },
    leafFor() {
      throw new Error('a dry run intercepts nothing');
    },
    now: () => at,
    timers: { after: () => () => {} },
  };
}

/** Reads the proposals of the store. Creates and uses none. */
function proposalsOf(
  { store, config }: Pick<Reading, 'config' | 'store'>,
  at: number,
): ProxyServices['proposals'] {
  const nothing = { answer: null, usedAt: null };
  const empty = { policyFor: () => null };
  const policies =
    store === null
      ? empty
      : createProposedPolicies({ store, now: () => at, restrict: () => config.restrict });
  return {
    ...policies,
    propose: async (asked) => ({ ...asked, ...nothing, id: '', askedAt: at, expiresAt: at }),
    get: async (id) => (await store?.proposals.get(id)) ?? null,
    list: async (agent) => (await store?.proposals.list({ agent })) ?? [],
    connected: async (proposal) => proposal,
    use: async () => true,
  };
}

/** Authenticates the caller of a question with the authenticator of the proxy. */
export async function identify(
  { store, config }: Pick<Reading, 'config' | 'store'>,
  { agent, at, inbound }: Question,
  presented: Presented,
): Promise<Identity | SidekeyError> {
  const get = async (id: string) => (await store?.leases.get(id)) ?? null;
  const authenticator = createAgentAuthenticator({
    store:
      store === null
        ? emptyStore
        : {
            epoch: () => store.epoch(),
            changesSince: (epoch) => store.changesSince(epoch),
            rights: store.rights,
            grantPolicies: store.grantPolicies,
            leases: { get, use: async (id) => (await get(id))?.uses ?? null },
          },
    grants: { current: async (id) => (await store?.grants.get(id)) ?? null },
    now: () => at,
    uses: { used() {} },
    tokenIdentities: anyToken(agent),
  });
  const { loopback, owner } = inbound.client;
  return authenticator.identify(presented, { loopback, owner, mode: callerMode(config.proxy) });
}

/** An empty store knows no callers. */
const emptyStore: AuthenticatorParts['store'] = {
  epoch: () => 0,
  changesSince: () => ({ grants: [], names: [], rights: [], others: false }),
  rights: { revision: async () => 0, holder: async () => null, agent: async () => null },
  grantPolicies: { get: async () => null },
  leases: { get: async () => null, use: async () => null },
};

/** Identifies an agent as if by a valid token of its issuers. A dry run has no real token to verify. */
function anyToken(agent: string | null): TokenIdentities {
  const identity = { agent: agent ?? '', issuer: '', subject: '', expiresAt: Infinity };
  return { applies: () => true, find: () => identity, verify: async () => identity };
}

/** Returns a reply that discards its content. */
export function silentReply(): Reply {
  const gone = createGone();
  return {
    started: false,
    gone,
    hold: () => gone,
    expectsContinue: false,
    continue() {},
    informational() {},
    closeAfter() {},
    head() {},
    write: () => true,
    onDrain() {},
    end() {},
    abort() {},
  };
}

/** Replaces the token that a refresh would obtain by a placeholder. */
export function withSomeToken(
  sealed: SealedCredential,
  placement: Placement | null,
  isNeeded: boolean,
): SealedCredential {
  const { credential } = sealed;
  if (credential.type === 'source') return { ...sealed, credential: someValue(placement) };
  if (credential.type !== 'oauth2' || !isNeeded) return sealed;
  const { renewal, accessToken, dpop } = credential;
  const token = renewal?.kind === 'aws_role' ? keysText(renewal.keys) : 'token';
  const bound = { key: dpop?.key ?? newDpopKey('ES256'), isBound: true };
  return {
    ...sealed,
    credential: {
      ...credential,
      accessToken: accessToken ?? token,
      ...(placement?.kind === 'dpop' ? { dpop: bound } : {}),
    },
  };
}

/** Returns a placeholder for the credential of a source. */
function someValue(placement: Placement | null): HeldCredential {
  if (placement?.kind === 'aws_sigv4') {
    const keys = { accessKeyId: 'A'.repeat(16), secretAccessKey: 'secret', sessionToken: null };
    return { type: 'aws', ...keys, region: null };
  }
  const isPair = placement !== null && schemeOf(placement).accepts?.(placement) === 'pair';
  return isPair
    ? { type: 'basic', username: 'user', password: 'password' }
    : { type: 'api_key', value: 'token' };
}
