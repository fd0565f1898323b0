import type { RawFields } from './fields.ts';
import { SidekeyError } from '../errors.ts';
import type { Grant } from '../grants/grant.ts';
import { selectGrant, type Selected } from '../grants/select-grant.ts';
import type { ReadyToken } from '../grants/token-result.ts';
import { inject } from '../inject/inject.ts';
import type { Decision } from '../policy/decide.ts';
import type { Selectors } from './agent.ts';
import type { Departure } from './forward.ts';
import type { ExchangeRecord } from './record.ts';
import type { Rooms, Settings } from './rooms.ts';

/**
 * Puts the grant's credential on a request that policy let through. The access is in the audit file before this
 * answers with a departure: a credential that nobody wrote down does not leave.
 */
export async function withCredential(
  departure: Departure,
  decision: Decision & { readonly outcome: 'inject' },
  selectors: Selectors,
  rooms: Rooms,
  settings: Settings,
  record: ExchangeRecord,
): Promise<Departure | SidekeyError> {
  if (departure.method === 'TRACE') {
    // An answer to TRACE is the request itself, credential and all (RFC 9110 §9.3.8).
    return new SidekeyError('policy_violation', 'TRACE would show the credential to whoever sent it.');
  }
  const selected = selectGrant(await rooms.grants.find(decision.grant), {
    reference: decision.grant,
    ...selectors,
  });
  if (selected.kind !== 'selected') return unselected(selected, decision, selectors);
  const token = await rooms.tokens.tokenFor(selected.grant.id);
  if (token.kind === 'refused') return new SidekeyError(token.code, token.message, { hint: token.hint });

  const arm = async ({ grant, sealed }: ReadyToken): Promise<RawFields> => {
    const fields = inject(departure.fields, {
      sealed,
      plan: settings.injectPlan(grant.provider),
      authority: departure.authority,
      insecure: decision.insecure,
    });
    record.grant(grant, rooms.fingerprint(sealed));
    await rooms.audit.append(record.access());
    return fields;
  };

  const renew = async (replayable: boolean): Promise<RawFields | null> => {
    const fresh = await rooms.tokens.forceRefresh(token);
    if (fresh.kind === 'ready') return replayable ? arm(fresh) : null;
    // The upstream's own 401 says more than a refresh that could not be made; a grant that has ended says so itself.
    if (fresh.kind === 'unchanged' || fresh.code === 'refresh_failed') return null;
    throw new SidekeyError(fresh.code, fresh.message, { hint: fresh.hint });
  };
  return {
    ...departure,
    fields: await arm(token),
    carriesGrant: true,
    renew: token.grant.refreshable ? renew : undefined,
  };
}

/** Why no grant, or no single one, stands for the request. */
export function unselected(
  selected: Exclude<Selected, { kind: 'selected' }>,
  { grant: reference }: Decision & { readonly outcome: 'inject' },
  { grant, user }: Selectors,
): SidekeyError {
  const wanted = `${grant ?? reference}${user === null ? '' : ` of the user ${user}`}`;
  if (selected.kind === 'missing') {
    const beyond = grant === null || grant === reference ? '' : ` among those of ${reference}`;
    return new SidekeyError('grant_missing', `There is no grant ${wanted}${beyond}.`, {
      hint: `sidekey grant add ${grant ?? reference} --provider PROVIDER < token.json`,
    });
  }
  const names = selected.candidates.map(describe).join(', ');
  return new SidekeyError('grant_ambiguous', `More than one grant fits ${wanted}: ${names}.`, {
    hint: 'choose one with +grant=NAME or +user=NAME in the proxy user name, or with the header Sidekey-Grant',
  });
}

function describe({ name, user }: Grant): string {
  return `${name} (user ${user})`;
}
