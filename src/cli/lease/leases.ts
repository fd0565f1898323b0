import { isLeaseFor, leaseStanding } from '../../domain/lease.ts';
import { leaseEnded } from '../../agents/permissions.ts';
import type { State } from '../../app/state.ts';
import { recordChange } from '../../audit/log.ts';
import type { Context } from '../context.ts';
import { details, table } from '../display.ts';
import { counted, lastUse, readSpan, shortId, spanText, when } from '../format.ts';
import {
  cappedText,
  leaseClockText,
  leaseEndText,
  leaseGrantsText,
  leaseJson,
  leaseStateText,
  ownGrants,
  readUses,
  ttlFor,
  usualGrants,
  usesText,
  whatEndsBefore,
} from './create.ts';
import { namedGrant, pickAgent, pickLease } from '../pick.ts';
import { removeGrantsOfEndedLeases } from '../../grants/lease-grants.ts';
import { SidekeyError } from '../../lib/errors.ts';
import type { LeaseChoice } from '../../store/store.ts';

export interface ListOptions {
  readonly agent?: string;
  readonly grant?: string;
  /** Also show ended leases. */
  readonly all?: boolean;
}

/** `sidekey lease list [LEASE]`: all leases, or one in full. */
export async function listLeases(
  context: Context,
  id: string | undefined,
  { agent, grant, all = false }: ListOptions,
): Promise<void> {
  if (id !== undefined) {
    await showLease(context, id);
    return;
  }
  const { withView, output, now } = context;
  const { leases, grants, agents } = await withView(async ({ store, ...view }) => ({
    leases: (await store?.leases.list()) ?? [],
    agents: (await store?.agents.list())?.length ?? 0,
    grants: await view.grants(),
  }));
  const at = now();
  const grantId = grant === undefined ? null : namedGrant(grants, grant).id;
  const fitting = leases.filter(
    (lease) =>
      (agent === undefined || lease.agent === agent) && (grantId === null || isLeaseFor(lease, grantId)),
  );
  const shown = all ? fitting : fitting.filter((lease) => leaseStanding(lease, at).state === 'active');
  const ended = fitting.length - shown.length;
  const below = [
    ended > 0 ? `${counted(ended, 'ended lease')} hidden; --all shows ${ended === 1 ? 'it' : 'them'}.` : null,
    leases.length === 0
      ? `  → sidekey ${agents === 0 ? 'agent create AGENT' : 'lease create --agent AGENT --grant GRANT --ttl 15m --purpose TEXT'}`
      : null,
  ].filter((line) => line !== null);
  const text =
    shown.length === 0
      ? 'No leases found.'
      : table(
          output.display,
          ['LEASE', 'AGENT', 'GRANTS', 'STATE', 'ENDS', 'USES', 'LAST USED', 'PURPOSE'],
          shown.map((lease) => [
            shortId(lease.id),
            lease.agent,
            leaseGrantsText(lease, grants),
            leaseStateText(lease, at),
            leaseEndText(lease, at),
            usesText(lease),
            lastUse(lease.usedAt, at),
            lease.purpose,
          ]),
          { least: ['USES', 'LAST USED', 'GRANTS', 'PURPOSE'] },
        );
  output.result(
    shown.map((lease) => leaseJson(lease, at)),
    [text, ...below].join('\n'),
  );
}

/** Rejects with errors of `pickLease`. */
async function showLease({ withView, output, now }: Context, id: string): Promise<void> {
  const { lease, grants, rights } = await withView(async ({ store, ...view }) => ({
    lease: pickLease((await store?.leases.list()) ?? [], id),
    grants: await view.grants(),
    rights: (await store?.rights.read()) ?? null,
  }));
  const at = now();
  const own = ownGrants(lease, grants, rights);
  const state = leaseStateText(lease, at);
  const warnings = state === 'active' ? whatEndsBefore(lease.expiresAt, own, rights?.policies ?? [], at) : [];
  output.result(
    { ...leaseJson(lease, at), warnings },
    details(output.display, lease.id, {
      agent: lease.agent,
      grants: leaseGrantsText(lease, grants),
      egress: lease.egress?.join(', ') ?? null,
      purpose: lease.purpose,
      state,
      ends: leaseEndText(lease, at),
      'at the latest': when(lease.expiresAt, at),
      'idle end': lease.idleMs === null ? null : `after ${spanText(lease.idleMs)} without a request`,
      uses: lease.maxUses === null ? null : usesText(lease),
      'last use': lastUse(lease.usedAt, at),
      renewed: lease.renewedAt === null ? null : when(lease.renewedAt, at),
      created: when(lease.createdAt, at),
    }),
  );
  for (const warning of warnings) output.say(warning);
}

export interface RenewOptions {
  readonly ttl?: string;
  /** Number of further requests. */
  readonly uses?: string;
}

/**
 * `sidekey lease renew`: sets a new end, counted from now and within the current maxima; never an earlier
 * one. An expired lease becomes valid again, without its earlier approvals.
 *
 * @throws SidekeyError `lease_expired` if it was revoked
 */
export async function renewLease(
  { withState, output, now }: Context,
  id: string,
  { ttl: span, uses }: RenewOptions,
): Promise<void> {
  const at = now();
  const asked = span === undefined ? null : readSpan('--ttl', span);
  const moreUses = uses === undefined ? 0 : readUses('--uses', uses);
  const { lease, grants, policies, ttl } = await withState(async ({ store, audit, config, ...state }) => {
    const before = pickLease(await store.leases.list(), id);
    if (before.revokedAt !== null) throw leaseEnded(before, { state: 'revoked', at: before.revokedAt });
    if (moreUses > 0 && before.maxUses === null) {
      throw new SidekeyError('input_invalid', 'The lease has no maximum of uses, so --uses has no effect.', {
        hint: `sidekey lease renew ${id}`,
      });
    }
    const rights = await store.rights.read();
    const own = ownGrants(before, await state.grants.list(), rights);
    if (own.length === 0 && before.grants !== null) {
      throw new SidekeyError('grant_missing', 'All grants of the lease were removed.', {
        hint: `sidekey lease create --agent ${before.agent} --grant GRANT --purpose TEXT`,
      });
    }
    const { policies: known } = rights;
    const usual = usualGrants(before, own, rights);
    const granted = ttlFor(asked, own, { config, policies: known }, usual);
    const expiresAt = Math.max(before.expiresAt, at + granted.ttlMs);
    const event = { event: 'lease.renewed', agent: before.agent, lease: before.id } as const;
    const renewed = await recordChange(audit, event, async () => {
      const answer = await store.leases.renew(before.id, { at, expiresAt, moreUses });
      if (answer === null) throw leaseEnded(before, { state: 'revoked', at });
      return answer;
    });
    return { lease: renewed, grants: own, policies: known, ttl: granted };
  });
  const warnings = whatEndsBefore(lease.expiresAt, grants, policies, at);
  output.result(
    { ...leaseJson(lease, at), capped_by: ttl.cappedBy, warnings },
    `Renewed the lease ${lease.id}. ${leaseClockText(lease, at)}`,
  );
  const capped = cappedText(ttl, span);
  if (capped !== null) output.say(capped);
  for (const warning of warnings) output.say(warning);
  if (leaseStanding(lease, at).state === 'used_up') {
    output.say(`The lease has no uses left.\n  → sidekey lease renew ${id} --uses ${lease.maxUses}`);
  }
}

export interface RevokeOptions {
  readonly agent?: string;
  readonly grant?: string;
}

/** `sidekey lease revoke`: revokes leases permanently, from the next request on, also in open tunnels. */
export async function revokeLeases(
  { withState, output, now }: Context,
  id: string | undefined,
  options: RevokeOptions,
): Promise<void> {
  const said = [id, options.agent, options.grant].filter((each) => each !== undefined);
  if (said.length !== 1) {
    throw new SidekeyError('input_invalid', 'Name one lease, or all leases of an agent or a grant.', {
      hint: 'sidekey lease revoke LEASE | --agent AGENT | --grant GRANT',
    });
  }
  const revoked = await withState(async (state) => {
    const { which, event } = await choiceOf(state, id, options);
    const ended = await recordChange(state.audit, { event: 'lease.revoked', ...event }, () =>
      state.store.leases.revoke(which, now()),
    );
    await removeGrantsOfEndedLeases(state, now());
    return ended;
  });
  const count = revoked.length;
  output.result(
    { revoked },
    count === 0
      ? 'Nothing changed: the leases were revoked before, or there are none.'
      : `Revoked ${count === 1 ? 'one lease' : `${count} leases`}: refused from the next request on.`,
  );
}

async function choiceOf(
  { store, grants }: State,
  id: string | undefined,
  { agent, grant }: RevokeOptions,
): Promise<{
  readonly which: LeaseChoice;
  readonly event: { readonly agent?: string; readonly lease?: string; readonly grant?: string };
}> {
  if (agent !== undefined) {
    const { name } = pickAgent(await store.agents.list(), agent);
    return { which: { agent: name }, event: { agent: name } };
  }
  if (grant !== undefined) {
    const found = namedGrant(await grants.list(), grant);
    return { which: { grant: found.id }, event: { grant: found.id } };
  }
  const lease = pickLease(await store.leases.list(), id ?? '');
  return { which: { id: lease.id }, event: { agent: lease.agent, lease: lease.id } };
}
