import { clockOf, type Credential } from '../domain/credential.ts';
import type { Provider } from '../domain/provider.ts';
import { entryError } from '../grants/credential-input.ts';
import { assertWorks, type Verification } from '../grants/verify.ts';
import { pooled } from '../lib/pooled.ts';
import { isWithin } from '../proxy/policy/domain-map.ts';
import { hostPattern, type Prepared } from './credential-entry.ts';
import type { Changing } from './operation.ts';

/** Verifies credentials before they are stored. */

/** Credentials that are verified at the same time. */
const verifiedAtOnce = 8;

/** An entry of the input, with its place; null: the input has no other. */
export interface Entry extends Prepared {
  readonly place: number | null;
}

/**
 * Verifies some credentials at a time. Skips those that no request can carry now.
 *
 * @param onDone called with the number of verified credentials
 * @throws SidekeyError as `assertWorks`, with the number of the entry if there are several
 */
export function verifyAll(
  { audit, config, now, withFetch }: Changing,
  entries: readonly Entry[],
  isWanted: boolean,
  onDone: (count: number) => void,
): Promise<readonly Verification[]> {
  let done = 0;
  return withFetch((fetch) =>
    pooled(entries, isWanted ? verifiedAtOnce : 1, async (entry) => {
      const { wanted, provider, credential, audience, isUnusable, place } = entry;
      const why = isUnusable ? 'no request can carry it' : whyNotNow(credential, audience, provider, now());
      if (isWanted && why !== null) return { verified: false, says: `not verified: ${why}` };
      const signal = AbortSignal.timeout(config.limits.refresh_timeout);
      const request = { provider, user: wanted.user, upstream: { fetch }, signal, state: { audit } };
      const check = assertWorks(request, { credential, audience }, { isIssued: false, isWanted });
      const checked = await check.catch((error: unknown) => {
        throw place === null ? error : entryError(place, wanted.name, error);
      });
      if (isWanted) onDone((done += 1));
      return checked;
    }),
  );
}

/** Returns why a credential cannot be verified now; null: it can. */
function whyNotNow(
  credential: Credential,
  audience: readonly string[],
  { probe }: Provider,
  now: number,
): string | null {
  // Only the proxy presents certificates.
  if (credential.type === 'client_certificate') return 'it is a certificate';
  const clock = clockOf(credential, now, 0);
  if (clock === 'absent') return 'it has no access token yet';
  if (clock === 'ended') return 'its token has ended';
  const host = probe === null ? null : new URL(probe.url).host;
  if (host === null || isWithin(audience, hostPattern('probe', host))) return null;
  return `the check goes to ${host}, which is not in its audience`;
}
