import { z } from 'zod';
import { recordChange } from '../audit/log.ts';
import type { Grant } from '../domain/grant.ts';
import { grantGone } from '../grants/keep.ts';
import { createRefreshLock } from '../grants/refresh-lock.ts';
import type { Registry } from '../grants/registry.ts';
import { inPages } from '../store/queries.ts';
import { systemTimers } from '../lib/timers.ts';
import { connectionOf, isAuth0 } from './auth0-login.ts';
import { dropDomains } from './domain-entries.ts';
import { placeOf } from './caller.ts';
import { grantAnswer, grantMembers } from './grant-answer.ts';
import { findDomains, findGrant } from './find.ts';
import { referencesOf } from './lookup.ts';
import type { GrantRecord } from '../store/store.ts';
import { grantOwner, named, text } from './members.ts';
import { endMinted } from './minted-end.ts';
import { type Changing, changing } from './operation.ts';
import { assertRevocable, type ProviderRevocation, revokeAtProvider } from './provider-revocation.ts';

/** The end of a grant, here and at its provider. */

const local = z.boolean().optional().describe('True: do not tell the provider.');

const atProvider = z
  .string()
  .nullable()
  .describe('Result of the revocation at the provider: `ended`, `not told`, `failed`.');

export const revokeGrant = changing({
  id: 'grant.revoke',
  summary: 'End a grant, here and at the provider; it stays in the list.',
  scope: 'grants:write',
  input: z.strictObject({ grant: text, user: grantOwner, local }),
  output: named('RevokedGrant', { ...grantMembers, changed: z.boolean(), at_provider: atProvider }),
  async run(parts, input) {
    const { audit, caller, config, grants, now } = parts;
    const picked = await findGrant(parts.store, input, caller);
    const { id, user, provider: name } = picked;
    const provider = config.providers.get(name);
    if (picked.state === 'revoked') return { grant: picked, provider, there: null, at: now() };
    const { here, there } = await endGrant(parts, { id, isLocal: input.local === true }, () =>
      recordChange(audit, { event: 'grant.revoked', grant: id, user, provider: name }, () =>
        revokeHere(grants, id, `revoked ${placeOf(caller)}`),
      ),
    );
    return { grant: here, provider, there, at: now() };
  },
  answer: ({ grant, there, at }) => ({
    ...grantAnswer(grant, at),
    changed: there !== null,
    at_provider: there?.kind ?? null,
  }),
});

export const removeGrant = changing({
  id: 'grant.remove',
  summary: 'End a grant, here and at the provider, and delete it.',
  scope: 'grants:write',
  input: z.strictObject({ grant: text, user: grantOwner, local, domains: z.boolean().optional() }),
  machineOnly: ['domains'],
  output: named('RemovedGrant', {
    id: z.uuid(),
    name: z.string(),
    user: z.string(),
    removed: z.literal(true),
    at_provider: atProvider,
    domains: z.array(z.string()).describe('Domains that have no grant any more.'),
  }),
  async run(parts, input) {
    const { audit, caller, config, grants } = parts;
    const { store } = parts;
    const picked = await findGrant(store, input, caller);
    const { id, provider, user } = picked;
    const stranded = isAuth0(config.providers.get(provider)) ? await renewedThrough(parts, picked) : [];
    const offering = (await findDomains(store, config.domains, [picked]))(picked);
    // A revoked grant has no credential to revoke at the provider.
    const isLocal = input.local === true || picked.state === 'revoked';
    const { there } = await endGrant(parts, { id, isLocal }, () =>
      recordChange(audit, { event: 'grant.removed', grant: id, user, provider }, async () => {
        if (!(await grants.remove(id))) throw grantGone();
      }),
    );
    const domains: string[] = [];
    for (const domain of offering) {
      // The domain keeps working if another grant replaces this one.
      const others = await Promise.all(
        referencesOf(domain).map((reference) => store.grantChecks.offered(reference, 1)),
      );
      if (others.flat().length === 0) domains.push(domain.pattern.text);
    }
    const areDropped = input.domains === true && domains.length > 0;
    if (areDropped) await dropDomains(parts, domains);
    const isLast =
      config.providers.own.includes(provider) && (await store.grants.matching({ provider }, 1)).length === 0;
    return { grant: picked, there, stranded, domains, areDropped, definition: isLast ? provider : null };
  },
  answer: ({ grant: { id, name, user }, there, domains }) => ({
    id,
    name,
    user,
    removed: true as const,
    at_provider: there.kind,
    domains,
  }),
});

/** Revokes a grant, even if a refresh changes it meanwhile. @throws SidekeyError `grant_missing` */
async function revokeHere(grants: Registry, id: string, reason: string): Promise<Grant> {
  for (;;) {
    const stored = await grants.read(id);
    if (stored === null) throw grantGone();
    const grant = await grants.setState(stored.grant, 'revoked', reason);
    if (grant !== null) return grant;
  }
}

/** Returns the grants that are renewed with the refresh token of this login: they have the same user. */
async function renewedThrough(
  { store, grants }: Pick<Changing, 'store' | 'grants'>,
  { id: login, user }: Grant,
): Promise<readonly Grant[]> {
  const renewed: Grant[] = [];
  const pages = inPages<GrantRecord>(250, (after) => store.grants.find({ users: [user], after, limit: 250 }));
  for await (const page of pages) {
    for (const grant of page) {
      const opened = grant.refreshable ? await grants.read(grant.id) : null;
      if (opened !== null && connectionOf(opened)?.via === login) renewed.push(opened.grant);
    }
  }
  return renewed;
}

/**
 * Ends a grant locally, then at its provider with its last credential. The lock prevents a concurrent
 * refresh: tokens that arrive after the end would not be revoked. Another process's lock delays the end as
 * long as that process may wait for tokens, but does not prevent it.
 *
 * @param isLocal true: skips the revocation at the provider
 * @throws SidekeyError `grant_missing`; errors of `assertRevocable` and `endHere`
 */
async function endGrant<T>(
  parts: Changing,
  { id, isLocal }: { readonly id: string; readonly isLocal: boolean },
  endHere: () => Promise<T>,
): Promise<{ readonly here: T; readonly there: ProviderRevocation }> {
  const { store, config, grants, now, during } = parts;
  const lock = createRefreshLock({ store, now, timers: systemTimers, limits: config.limits });
  const taken = await lock.take(id, { patient: true, outlasts: !isLocal });
  try {
    const opened = await grants.read(id);
    if (opened === null) throw grantGone();
    if (!isLocal) await assertRevocable(parts, opened);
    await endMinted(parts, { id, isLocal });
    const here = await endHere();
    const there: ProviderRevocation = isLocal
      ? { kind: 'not told', sentence: 'The provider was not told.' }
      : await during('Telling the provider', () => revokeAtProvider(parts, opened));
    return { here, there };
  } finally {
    if (typeof taken !== 'string') await lock.release(id);
  }
}
