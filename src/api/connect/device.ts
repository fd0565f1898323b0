import { SidekeyError } from '../../lib/errors.ts';
import { pause } from '../../lib/timers.ts';
import { beginDeviceConsent } from '../../grants/oauth/device-consent.ts';
import type { DeviceAuthorization } from '../../grants/oauth/device-code.ts';
import type { RuleLimit } from '../../proxy/policy/rule.ts';
import type { ServiceParts } from '../parts.ts';
import { concludeSession, recordBegin } from './consent.ts';
import { type ConnectSession, keepSession, newSession, type Wanted } from './sessions.ts';

/** Maximum sessions of a user in 15 minutes. Each polls the provider. */
const maxBegun = 20;

/**
 * Begins a session without a browser: requests codes of the provider, which the person types on another
 * device (RFC 8628), and polls for the tokens until the person answers.
 *
 * @param client address of the caller
 * @throws SidekeyError errors of `newSession` and `beginDeviceConsent`; `rate_limited`, `audit_unavailable`
 */
export async function createDeviceSession(
  wanted: Wanted,
  client: string,
  parts: ServiceParts,
): Promise<{ readonly session: ConnectSession; readonly codes: DeviceAuthorization }> {
  const { session: draft, provider } = await newSession(wanted, 'device', parts);
  assertFew(draft.user, parts);
  await recordBegin(draft, client, parts);
  // The upstream client may change with the config.
  const fetch: typeof globalThis.fetch = (...message) => parts.fetch()(...message);
  const signal = AbortSignal.timeout((await parts.config()).limits.refresh_timeout);
  const { codes, tokens } = await beginDeviceConsent(provider, draft.scopes, {
    fetch,
    now: parts.now,
    signal,
  });
  const session = { ...draft, expiresAt: codes.expiresAt };
  await keepSession(session, parts);
  parts.inBackground(async (signal) => {
    const obtain = () => tokens({ signal, pause: (ms, by) => pause(parts.timers, ms, by) });
    await concludeSession({ session, client, flow: 'device_code', obtain }, parts).catch((error: unknown) =>
      parts.log.error({ err: error }, 'the end of a connect session was not stored'),
    );
  });
  return { session, codes };
}

/** @throws SidekeyError `rate_limited` */
function assertFew(user: string, { quota, now }: Pick<ServiceParts, 'quota' | 'now'>): void {
  const rate = { count: maxBegun, perMs: 900_000, burst: maxBegun };
  const limit: RuleLimit = { kind: 'rate', per: 'rule', ...rate, key: `device session ${user}` };
  const taken = quota.take([limit], { agent: null, grant: '' }, now());
  if (taken.ok) return;
  throw new SidekeyError('rate_limited', 'The user has too many device sessions.', {
    hint: 'let the person finish the one that was begun last, or wait',
    retryAfterMs: taken.retryAfterMs,
  });
}
