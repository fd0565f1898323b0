import type { State } from '../../app/state.ts';
import type { Context } from '../context.ts';
import { refreshParts } from '../../app/refresh-parts.ts';
import { onInterrupt } from '../terminal.ts';
import { formatDuration, parseDuration } from '../../config/scalar.ts';
import { boundBy, type OAuth2Credential, type Renewal, withoutToken } from '../../domain/credential.ts';
import { whatToCheck } from '../../grants/messages.ts';
import type { Provider } from '../../domain/provider.ts';
import { planRefresh } from '../../grants/refresh-plan.ts';
import type { OpenedGrant } from '../../grants/registry.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import type { Timers } from '../../lib/timers.ts';
import { unbound } from '../../grants/oauth/answer.ts';
import { withDescription } from '../../grants/oauth/description.ts';
import { withoutStop } from '../../lib/text.ts';
import { scopesIn } from '../../grants/oauth/scopes.ts';
import type { RenewalParts } from '../../operations/operation.ts';
import type { UpstreamClient } from '../../proxy/upstream/client.ts';
import type { Obtained } from '../../grants/keep.ts';

export interface ConnectOptions {
  readonly name?: string;
  readonly user?: string;
  /** Scopes. Each text may hold several, separated by commas or spaces. */
  readonly scope?: readonly string[];
  /** True: replaces the credential of a working grant without confirmation. */
  readonly replace?: boolean;
  /** `KEY=VALUE` for the grant. */
  readonly meta?: readonly string[];
  readonly allowedDomains?: readonly string[];
  /** True: allows hosts outside of the provider's audience. */
  readonly widen?: boolean;
  /** False: leaves the allowed-domains map unchanged. */
  readonly domains?: boolean;
  /** `NAME=VALUE` of the provider's settings, stored in the config file. */
  readonly set?: readonly string[];
  /** Stored in the config file. */
  readonly clientId?: string;
  /** `env:`, `file:`, `command:`; stored in the config file. */
  readonly clientSecret?: string;
  /** Time to wait for a person: `5m`. */
  readonly timeout?: string;

  readonly port?: string;
  readonly redirectUri?: string;
  /** A program; false: opens none. */
  readonly browser?: string | false;
  readonly paste?: boolean;
  readonly printUrl?: boolean;
  /** The URL of the callback, or its code. */
  readonly finish?: string;
  /** State of a consent that a bare code finishes. */
  readonly state?: string;

  readonly device?: boolean;
  readonly clientCredentials?: boolean;
  readonly jwtBearer?: boolean;
  readonly tokenExchange?: boolean;
  readonly import?: boolean;
  readonly token?: boolean;
  /** False: stores the credential unverified. */
  readonly verify?: boolean;
  /** The environment variable with the key. */
  readonly fromEnv?: string;
  /** Source of the credential. */
  readonly from?: string;
  readonly sourceTtl?: string;
  readonly sourceForm?: string;
  /** True: leaves the audience of the existing grant and the map unchanged. */
  readonly keepsAudience?: boolean;
  readonly discover?: boolean;
  /** Endpoints of a service without a provider definition; stored in the config file. */
  readonly authUrl?: string;
  readonly tokenUrl?: string;
  /** The grant that is a login at Auth0. */
  readonly via?: string;
  /** Connection at Auth0, if it has another name than usual. */
  readonly connection?: string;
  /** Account of the connection at Auth0, if it has several. */
  readonly loginHint?: string;

  /** A file with a private key: PEM, JWK, or the JSON of a service account. `-`: standard input. */
  readonly key?: string;
  readonly keyId?: string;
  readonly algorithm?: string;
  readonly issuer?: string;
  readonly subject?: string;
  readonly assertionAudience?: string;
  readonly appId?: string;
  readonly installationId?: string;
  /** ARN of an AWS role. */
  readonly assumeRole?: string;
  readonly externalId?: string;
  /** The only AWS region for the keys. */
  readonly region?: string;
  /** `env:`, `file:`, `command:`; read for each exchange. Absent: stores a token from standard input. */
  readonly subjectToken?: string;
  readonly subjectTokenType?: string;
  readonly actorToken?: string;
  readonly actorTokenType?: string;
  readonly requestedTokenType?: string;
  /** `NAME=VALUE`, sent with each token request. */
  readonly param?: readonly string[];
}

/** Input of a flow. */
export interface ConnectRequest {
  readonly context: Context;
  readonly state: State;
  /** Client behind the address guard. */
  readonly upstream: UpstreamClient;
  /** The provider, with all settings set. */
  readonly provider: Provider;
  readonly name: string;
  readonly user: string;
  /** Scopes to request: those of the option, else of the provider, plus those of the existing grant. */
  readonly scopes: readonly string[];
  /** The grant to reconnect; null: a new one. */
  readonly existing: OpenedGrant | null;
  readonly options: ConnectOptions;
  /** Aborted by Ctrl-C and by the time limit. */
  readonly signal: AbortSignal;
}

/** Obtains a credential. Rejects with SidekeyError `provider_refused`, `input_invalid`, `config_invalid`. */
export type Obtain = (request: ConnectRequest) => Promise<Obtained>;

/** Returns the parts of a refresh for one command, during which the config does not change. */
export function commandParts({
  context: { now, env },
  state,
  upstream,
}: Pick<ConnectRequest, 'context' | 'state' | 'upstream'>): RenewalParts {
  return refreshParts(state, { config: () => state.config, fetch: () => upstream.fetch, now, env });
}

/** Requests the first token of a grant that renews itself. @throws SidekeyError as `renewNow` */
export function firstToken(request: ConnectRequest, renewal: Renewal): Promise<Obtained> {
  return renewNow(request, withoutToken(renewal, request.context.now()));
}

/**
 * Requests a token for a credential without one, as later renewals do, so that errors appear now.
 *
 * @throws SidekeyError `config_invalid`: the provider definition or a secret is incomplete;
 * `provider_refused`; the reason of the signal
 */
export async function renewNow(request: ConnectRequest, credential: OAuth2Credential): Promise<Obtained> {
  const { provider, scopes, signal } = request;
  const parts = commandParts(request);
  const plan = await planRefresh(
    { provider: provider.name, credential, scopes },
    {
      ...parts,
      // Adds a client secret that no file contains.
      providers: (name) => (name === provider.name ? provider : parts.providers(name)),
    },
  );
  if (plan.kind === 'impossible') {
    throw new SidekeyError('config_invalid', `No token can be asked for: ${withoutStop(plan.reason)}.`, {
      hint: plan.hint,
    });
  }
  const outcome = await parts.refresh(plan.request, { signal, proofKey: plan.proofKey });
  signal.throwIfAborted();
  switch (outcome.kind) {
    case 'renewed': {
      const { accessToken, expiresAt, obtainedAt, scope } = outcome;
      const refreshToken = outcome.refreshToken ?? credential.refreshToken;
      const isBound = outcome.isBound === true;
      if (plan.proofKey !== null && !isBound) throw unbound(provider);
      const next = { ...credential, accessToken, refreshToken, expiresAt, obtainedAt, scope };
      return {
        credential: boundBy(next, plan.proofKey, isBound),
        scopes: scopesIn(scope) ?? scopes,
      };
    }
    case 'refused':
      if (outcome.ends !== undefined)
        throw refused(provider.title, outcome.description, whatToCheck(plan.request, provider.name));
      throw refused(
        provider.title,
        withDescription(outcome.error, outcome.description),
        whatToCheck(plan.request, provider.name, outcome.error),
      );
    case 'later':
      throw refused(provider.title, outcome.reason, 'try again later');
  }
}

function refused(title: string, why: string, hint: string): SidekeyError {
  const detail = why === '' ? '' : ` (${withoutStop(why)})`;
  return new SidekeyError('provider_refused', `${title} gave no token${detail}.`, { hint });
}

/** Time limit for the user. */
interface ConsentTimeout {
  /** Aborted by Ctrl-C and by the time limit. The reason is a SidekeyError `consent_missing`. */
  readonly signal: AbortSignal;
  /** Stops the timer, and restores the signal handlers. */
  end(): void;
}

/** @param ms the time limit in milliseconds */
export function startConsentTimeout(ms: number, timers: Timers): ConsentTimeout {
  const controller = new AbortController();
  const cancel = timers.after(ms, () => {
    controller.abort(
      new SidekeyError(
        'consent_missing',
        `No answer came within ${formatDuration(ms)}. Nothing was stored.`,
        {
          hint: 'run the command again, with --timeout 15m where more time is needed',
        },
      ),
    );
  });
  const giveBack = onInterrupt(() =>
    controller.abort(
      new SidekeyError('consent_missing', 'Stopped before an answer came. Nothing was stored.'),
    ),
  );
  return {
    signal: controller.signal,
    end() {
      cancel();
      giveBack();
    },
  };
}

/** Returns `--timeout` in milliseconds. @throws SidekeyError `input_invalid` */
export function timeoutOf(text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const ms = parseDuration(text);
  if (ms !== null && ms > 0) return ms;
  throw inputInvalid('--timeout is not a duration.', 'use a number and a unit: 90s, 10m or 1h; at most 24d');
}
