import type { RefreshOutcome } from '../../../src/grants/oauth/refresh.ts';
import type { RenewalRequest } from '../../../src/grants/oauth/renewal.ts';

/**
 * A provider with rotating refresh tokens (RFC 9700 §4.14.2): a second use counts as theft, and revokes all
 * tokens of that consent. Requests without a refresh token get only an access token.
 */
export interface RotatingProvider {
  readonly refresh: (
    request: RenewalRequest,
    io: { readonly signal: AbortSignal },
  ) => Promise<RefreshOutcome>;
  readonly requests: RenewalRequest[];
  /** Number of requests that used a refresh token again. */
  readonly reuses: number;
  /** The valid refresh token. */
  readonly current: string;
  /** Holds responses back after the rotation; returns the function that releases them. */
  readonly hold: () => () => void;
  /** Sets the responses to the next requests, one each; a function runs first and returns one. */
  readonly script: (...outcomes: (RefreshOutcome | (() => RefreshOutcome))[]) => void;
}

export function rotatingProvider(options: {
  readonly now: () => number;
  readonly lifetimeMs: number;
  readonly rotates?: boolean;
}): RotatingProvider {
  const requests: RenewalRequest[] = [];
  const scripted: (RefreshOutcome | (() => RefreshOutcome))[] = [];
  let issued = 1;
  let reuses = 0;
  let revoked = false;
  let held: Promise<void> | null = null;
  const token = (): string => `refresh-${options.rotates === false ? 1 : issued}`;

  async function refresh(request: RenewalRequest): Promise<RefreshOutcome> {
    requests.push(request);
    const script = scripted.shift();
    if (script !== undefined) return typeof script === 'function' ? script() : script;
    const rotates = 'refreshToken' in request && request.kind !== 'auth0_connection';
    if (rotates) {
      if (request.refreshToken !== token()) {
        reuses += 1;
        revoked = true;
      }
      if (revoked) return { kind: 'refused', ends: 'grant', description: 'the token was used before' };
    }
    issued += 1;
    const outcome: RefreshOutcome = {
      kind: 'renewed',
      accessToken: `access-${issued}`,
      refreshToken: options.rotates === false || !rotates ? null : token(),
      obtainedAt: options.now(),
      expiresAt: options.now() + options.lifetimeMs,
      scope: null,
    };
    await held;
    return outcome;
  }

  return {
    refresh,
    requests,
    get reuses() {
      return reuses;
    },
    get current() {
      return token();
    },
    hold() {
      const { promise, resolve } = Promise.withResolvers<void>();
      held = promise;
      return () => {
        held = null;
        resolve();
      };
    },
    script(...outcomes) {
      scripted.push(...outcomes);
    },
  };
}
