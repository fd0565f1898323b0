import { hash } from 'node:crypto';
import { z } from 'zod';
import type { State } from '../../../app/state.ts';
import type { DpopKey } from '../../../grants/credential.ts';
import type { Provider } from '../../../grants/provider.ts';
import { SidekeyError } from '../../../lib/errors.ts';
import { authorizationUrl, type Callback, parseCallback } from '../../../oauth/authorization-code.ts';
import { isDpopKey } from '../../../schemes/dpop-proof.ts';
import { type Context, withUpstreamClient } from '../../context.ts';
import { isoTime, relativeTime } from '../../format.ts';
import { findProvider } from '../../pick.ts';
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
  await keepSession(
    state,
    {
      provider: provider.name,
      authorizationEndpoint: provider.authorizationEndpoint ?? '',
      tokenEndpoint: provider.tokenEndpoint ?? '',
      clientId: provider.clientId ?? '',
      redirectUri,
      state: begun.state,
      codeVerifier: begun.codeVerifier,
      proofKey: begun.proofKey,
      scopes,
      name,
      user,
      allowedDomains: options.allowedDomains ?? null,
      widen: options.widen === true,
      domains: options.domains !== false,
    },
    { expiresAt, now: at },
  );
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
      `Open this address in a browser. The browser ends at ${redirectUri}?…, which may be an error page. Copy that address.`,
      `Copy that address, and end with it ${relativeTime(expiresAt, at).replace(/^in /, 'within ')}:`,
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
    const session = await takeSession(state, stateOfFlow, context.now());
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
    const provider = unchanged(findProvider(state.config.providers, session.provider), session);
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

/** Returns the state of the response; a bare code has none, so the user supplies it. */
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

/**
 * Refuses a changed provider: a code is exchanged only by the client and at the server that requested it (RFC
 * 9207 §1, mix-up).
 */
function unchanged(provider: Provider, session: ConnectSession): Provider {
  const isSame =
    provider.authorizationEndpoint === session.authorizationEndpoint &&
    provider.tokenEndpoint === session.tokenEndpoint &&
    provider.clientId === session.clientId;
  if (isSame) return provider;
  throw new SidekeyError(
    'bad_request',
    `The provider ${provider.name} was changed since the consent began.`,
    {
      hint: `begin again: sidekey connect ${provider.name} --print-url`,
    },
  );
}

type Sessions = Pick<State, 'store' | 'vault'>;

/** Stores a started flow, sealed, until `expiresAt` (milliseconds since the epoch). */
async function keepSession(
  { store, vault }: Sessions,
  session: ConnectSession,
  { expiresAt, now }: { readonly expiresAt: number; readonly now: number },
): Promise<void> {
  await store.sessions.removeEnded(now);
  const id = sessionId(session.state);
  await store.sessions.insert({ id, expiresAt, sealed: vault.seal(contextOf(id), writeSession(session)) });
}

/**
 * Removes and returns the flow of a state.
 *
 * @throws SidekeyError `not_found` if there is none; errors of `Vault.open`
 */
async function takeSession({ store, vault }: Sessions, state: string, now: number): Promise<ConnectSession> {
  const id = sessionId(state);
  const record = await store.sessions.take(id);
  const session =
    record === null || record.expiresAt <= now ? null : readSession(vault.open(contextOf(id), record.sealed));
  await store.sessions.removeEnded(now);
  if (session !== null) return session;
  throw new SidekeyError(
    'not_found',
    'No consent is waiting for that answer: it is finished, or it timed out.',
    {
      hint: 'begin again: sidekey connect PROVIDER --print-url',
    },
  );
}

/** Binds a seal to its session. */
function contextOf(id: string): string {
  return `connect-session/${id}`;
}

/** A started flow, which waits for its callback; that may be of another process. It is sealed in the store. */
const sessionShape = z.object({
  provider: z.string(),
  // The endpoints and the client of the consent: none of it may change.
  authorizationEndpoint: z.string(),
  tokenEndpoint: z.string(),
  clientId: z.string(),
  redirectUri: z.string(),
  state: z.string(),
  /** Null: the flow has no PKCE. */
  codeVerifier: z.string().nullable(),
  /** See `Authorization`; absent: as null. */
  proofKey: z.custom<DpopKey>(isDpopKey).nullable().exactOptional(),
  scopes: z.array(z.string()).readonly(),
  name: z.string(),
  user: z.string(),
  /** Domain patterns for the map; null: those of the provider. */
  allowedDomains: z.array(z.string()).readonly().nullable(),
  widen: z.boolean(),
  /** False: the allowed-domains map is left alone. */
  domains: z.boolean(),
});

export type ConnectSession = z.infer<typeof sessionShape>;

const version = 1;

/** Returns the id of a session, which does not reveal the state to a reader of the store (RFC 6749 §10.12). */
export function sessionId(state: string): string {
  return hash('sha256', state);
}

/** Returns the text that is sealed. */
export function writeSession(session: ConnectSession): Uint8Array {
  return Buffer.from(JSON.stringify({ v: version, ...session }), 'utf8');
}

/** Parses the sealed text; null where it has another form, such as that of another version. */
export function readSession(bytes: Uint8Array): ConnectSession | null {
  try {
    const { v, ...session } = JSON.parse(Buffer.from(bytes).toString('utf8')) as Record<string, unknown>;
    return v === version ? sessionShape.parse(session) : null;
  } catch {
    return null;
  }
}
