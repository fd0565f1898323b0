import { asTyped } from '../command-name.ts';
import { missingConsent } from '../grants/missing-consent.ts';
import type { ReadyToken } from '../grants/token-result.ts';
import { valuesOf } from './fields.ts';
import type { Departure } from './forward.ts';
import type { ExchangeRecord } from './record.ts';
import type { Rooms, Settings } from './rooms.ts';

/**
 * What an agent is told besides where the upstream refuses its request for want of a consent: `Sidekey-Hint`. What the
 * upstream says goes on as it is; what is missing goes on record, by the names of scopes alone.
 *
 * @param token the credential that left last
 */
export function consentHint(
  token: () => Pick<ReadyToken, 'grant' | 'sealed'>,
  { provider }: Pick<Settings, 'provider'>,
  record: Pick<ExchangeRecord, 'lacks'>,
  { activity }: Pick<Rooms, 'activity'>,
): NonNullable<Departure['consentHint']> {
  return (fields) => {
    const left = token();
    const { grant } = left;
    const missing = missingConsent((name) => valuesOf(fields, name), left, provider(grant.provider));
    if (missing === null) return [];
    if (missing.scopes !== null) {
      record.lacks(missing.reason);
      activity.lacked(grant.id, missing.scopes);
    }
    return ['Sidekey-Hint', asTyped(missing.hint)];
  };
}

/** Whether a status says that the credential was not enough (RFC 6750 §3.1). */
export function isRefusal(status: number): boolean {
  return status === 401 || status === 403;
}
