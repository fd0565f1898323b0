import { recordChange } from '../audit/log.ts';
import { secretText } from '../domain/credential.ts';
import { type Grant, titleOf } from '../domain/grant.ts';
import { grantGone } from '../grants/keep.ts';
import { consentRemedy } from '../grants/messages.ts';
import { isWithin } from '../grants/refresh.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf } from '../lib/hint.ts';
import { withoutStop } from '../lib/text.ts';
import { renewedBy } from './grant-answer.ts';
import { attemptOnce, refreshable, settled } from './grant-refresh.ts';
import { grantRemedy } from './lookup.ts';
import { endMinted } from './minted-end.ts';
import type { Changing } from './operation.ts';

/**
 * Removes scopes from a grant: each refresh from now on names the remaining ones (RFC 6749 §6).
 *
 * @returns the grant with the scopes that the provider named
 * @throws SidekeyError `input_invalid` if it lacks a scope or has no refresh token; `provider_refused` if the
 * provider leaves the scopes as they are; errors of a refresh
 */
export async function narrowGrant(parts: Changing, picked: Grant, named: readonly string[]): Promise<Grant> {
  const { grants, config, audit } = parts;
  const opened = await grants.read(picked.id);
  if (opened === null) throw grantGone();
  const { grant, sealed } = opened;
  const { id, user, scopes: before } = grant;
  const other = named.find((scope) => !before.includes(scope));
  if (other !== undefined) {
    throw new SidekeyError('input_invalid', `${titleOf(grant)} does not have the scope ${other}.`, {
      hint:
        before.length === 0 ? 'its scopes are set at the provider' : `one or more of: ${before.join(' ')}`,
    });
  }
  // Without `offline_access` the refresh token may end.
  const left = before.filter((scope) => named.includes(scope) || scope === 'offline_access');
  if (left.length === before.length) return grant;
  const consent = consentRemedy(grant, named, config.providers.get(grant.provider), sealed.credential);
  const way = { hint: hintOf`${grantRemedy('revoke', grant)}; ${consent}` };
  const unchanged = `The scopes of ${titleOf(grant)} stay as they are`;
  if (renewedBy(sealed.credential) !== 'refresh_token') {
    throw new SidekeyError('input_invalid', `${unchanged}: it has no refresh token.`, way);
  }
  await refreshable(parts, grant, parts.now());
  await endMinted(parts, grant);
  const reason = `scopes ${left.join(' ')} (was ${before.join(' ')})`;
  return recordChange(audit, { event: 'grant.changed', grant: id, user, reason }, async () => {
    const outcome = await attemptOnce(parts, {
      id,
      unwanted: secretText(sealed.credential),
      narrowTo: left,
    });
    if (outcome.kind === 'refused') {
      throw new SidekeyError('provider_refused', `${unchanged}: ${withoutStop(outcome.reason)}.`, way);
    }
    const after = await settled(outcome, opened, parts);
    // Requests with the wider token went on meanwhile.
    await endMinted(parts, grant);
    if (isWithin(after.scopes, left)) return after;
    throw new SidekeyError('provider_refused', `${unchanged}: the provider did not reduce them.`, way);
  });
}
