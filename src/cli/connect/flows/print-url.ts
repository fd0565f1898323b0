import { z } from 'zod';
import { assertUnchanged, consentShape, pendingConsent } from '../../../grants/consent.ts';
import { type SessionParts, sessionsOf } from '../../../grants/sessions.ts';
import { SidekeyError } from '../../../lib/errors.ts';
import { authorizationUrl, type Callback, parseCallback } from '../../../grants/oauth/authorization-code.ts';
import { type Context, withUpstreamClient } from '../../context.ts';
import { isoTime, relativeTime } from '../../../operations/format.ts';
import { findProvider } from '../../../operations/lookup.ts';
import { planDomains } from '../allowed-domains.ts';
import { redirectOf, writtenRedirectUri } from '../browser/browser.ts';
import { metadataOf } from '../../grant/set.ts';
import { finishGrant, report } from '../finish-grant.ts';
import { type ConnectOptions, type ConnectRequest, timeoutOf } from '../request.ts';
import { obtainByCode } from './authorization-code.ts';
import { existingGrant } from '../../../grants/keep.ts';
import { noting } from '../../../grants/connected.ts';

const defaultTimeoutMs = 3_600_000;

/** `connect --print-url`: starts a consent that `connect --finish` completes. */
export async function printUrl(request: Omit<ConnectRequest, 'upstream' | 'signal'>): Promise<void> {
  const { context, state, provider, name, user, scopes, options } = request;
  const { output, now } = context;
  const at = now();
  const expiresAt = at + timeoutOf(options.timeout, defaultTimeoutMs);
  const redirectUri = writtenRedirectUri(redirectOf(options, provider));
  const begun = await authorizationUrl({ provider, redirectUri, scopes });
  const subject = { user, provider: provider.name, grant: request.existing?.grant.id } as const;
  await state.audit.append({ event: 'grant.connecting', ...subject, reason: 'a consent elsewhere' });
  const rest = { redirectUri, scopes, name, user };
  const pending = {
    ...pendingConsent(provider, begun, rest),
    allowedDomains: options.allowedDomains ?? null,
    widen: options.widen === true,
    domains: options.domains !== false,
  };
  await sessionsOf(kind, sessionShape, { ...state, now }).put(begun.state, pending, expiresAt);
  output.result(
    {
      provider: provider.name,
      name,
      user,
      consent_url: begun.url,
      state: begun.state,
      redirect_uri: redirectUri,
      expires_at: isoTime(expiresAt),
    },
    begun.url,
  );
  output.say(
    [
      `Open this address in a browser. The browser ends at ${redirectUri}?…, which may be an error page.`,
      `Copy the address of that page. ${relativeTime(expiresAt, at).replace(/^in /, 'Within ')}, run:`,
      `  → sidekey connect --finish 'ADDRESS'`,
      `  → sidekey connect --finish CODE --state ${begun.state}   (with the code alone)`,
    ].join('\n'),
  );
}

/** `connect --finish`: completes a consent of `--print-url`, from this or another process. */
export async function finishConsent(
  context: Context,
  named: string | undefined,
  { finish = '', state: said, verify, meta }: Pick<ConnectOptions, 'finish' | 'state' | 'verify' | 'meta'>,
): Promise<void> {
  const metadata = metadataOf(meta ?? []);
  const callback = parseCallback(finish === '-' ? await context.readInput() : finish);
  const stateOfFlow = stateOf(callback, said);
  const { provider, connected } = await context.withState(async (state) => {
    const session = await takeSession({ ...state, now: context.now }, stateOfFlow);
    const { name, user, scopes } = session;
    if (named !== undefined && named !== session.provider) {
      throw new SidekeyError(
        'bad_request',
        `The answer is of a consent at ${session.provider}, and ends with it.`,
        {
          hint: `begin again: sidekey connect ${session.provider} --print-url`,
        },
      );
    }
    const provider = findProvider(state.config.providers, session.provider);
    assertUnchanged(provider, session);
    const existing = await existingGrant(state, { name, user, provider: provider.name });
    const plan = planDomains(
      {
        ...(session.allowedDomains === null ? {} : { allowedDomains: session.allowedDomains }),
        widen: session.widen,
        domains: session.domains,
      },
      provider,
      existing?.sealed.audience ?? null,
    );
    const connected = await withUpstreamClient(state.config, context.env, (upstream) => {
      const request = { context, state, upstream, provider, name, user, scopes };
      return noting(request, existing, async () => {
        const obtained = await obtainByCode(request, { ...session, acceptBareCode: true }, callback);
        const signal = AbortSignal.timeout(state.config.limits.refresh_timeout);
        const flow = 'authorization_code';
        return finishGrant({ ...request, signal, flow, plan, verify, metadata }, obtained);
      });
    });
    return { provider, connected };
  });
  await report(context, provider, connected);
}

/** Returns the state of the response. A bare code has none, so the user supplies it. */
function stateOf(callback: Callback, said: string | undefined): string {
  const [written, ...more] = callback.kind === 'code' ? [] : callback.parameters.getAll('state');
  if (more.length === 0 && (written === undefined || said === undefined || written === said)) {
    const state = written ?? said;
    if (state !== undefined) return state;
    throw new SidekeyError('input_invalid', 'The answer does not name its consent.', {
      hint: 'give the complete address, or add --state with the value that --print-url printed',
    });
  }
  throw new SidekeyError('bad_request', 'The address has another state than --state says.', {
    hint: 'leave --state out',
  });
}

/** Removes and returns the flow of a state. @throws SidekeyError `not_found`; errors of `Sessions.take` */
async function takeSession(parts: SessionParts, state: string): Promise<ConnectSession> {
  const session = await sessionsOf(kind, sessionShape, parts).take(state);
  if (session !== null) return session;
  throw new SidekeyError(
    'not_found',
    'No consent is waiting for that answer: it is finished, or it timed out.',
    {
      hint: 'begin again: sidekey connect PROVIDER --print-url',
    },
  );
}

/** Kind of the records of `--print-url`. */
export const kind = 'connect-session';

/** A started flow that waits for its callback. The store seals it. */
const sessionShape = consentShape.extend({
  /** Domain patterns for the map; null: those of the provider. */
  allowedDomains: z.array(z.string()).readonly().nullable(),
  widen: z.boolean(),
  /** False: leaves the allowed-domains map unchanged. */
  domains: z.boolean(),
});

type ConnectSession = z.infer<typeof sessionShape>;
