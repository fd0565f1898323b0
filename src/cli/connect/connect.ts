import { displayName } from '../../config/problem.ts';
import { defaultUser, type Grant, stateNow } from '../../grants/grant.ts';
import type { Flow, Provider } from '../../grants/provider.ts';
import { replaceCommand } from '../../grants/token-result.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { systemTimers } from '../../lib/timers.ts';
import { ungrantedScopes } from '../../oauth/scopes.ts';
import { withUpstreamClient } from '../config.ts';
import type { Context } from '../context.ts';
import { checkName, relativeTime } from '../format.ts';
import { keepGrant } from '../grant/add.ts';
import { accountOf, expiryOf, grantCommand, grantJson, scopesOf, titleOf } from '../grant/format.ts';
import { details as lines } from '../output.ts';
import {
  allowCommand,
  allowDomains,
  type DomainChanges,
  type DomainPlan,
  existingGrant,
  ownSecret,
  planDomains,
  refuseOtherProvider,
  sealingSecret,
  withSecret,
} from './allowed-domains.ts';
import { type FinishPage, redirectUriToRegister } from './browser.ts';
import type { FoundProvider } from './discover.ts';
import {
  type ConnectOptions,
  type ConnectRequest,
  noting,
  type Obtain,
  type Obtained,
  startPatience,
  timeoutOf,
} from './flow.ts';
import { assertClient, assertSettings, configuredProvider, scopesToAsk } from './needs.ts';
import { assertWorks } from './verify.ts';

const usualTime = 300_000;

/** `sidekey connect`: what is missing is said before anything is asked of a person. */
export async function connect(
  context: Context,
  named: string | undefined,
  options: ConnectOptions,
): Promise<void> {
  if (options.finish !== undefined) {
    return (await import('./print-url.ts')).finishConsent(context, named, options);
  }
  if (options.state !== undefined) {
    throw new SidekeyError('input_invalid', '--state belongs to --finish.', { hint: 'leave it out' });
  }
  if (named === undefined) {
    throw new SidekeyError('input_invalid', 'Which provider?', {
      hint: 'sidekey connect PROVIDER; sidekey provider list shows them',
    });
  }
  const found = options.discover === true ? await discovered(context, named, options) : null;
  const providerName = found?.provider.name ?? named;
  const name = options.name ?? providerName;
  const user = options.user ?? defaultUser;
  checkName('name of the grant', name);
  checkName('name of the user', user);
  const timeout = timeoutOf(options.timeout, usualTime);

  const configured = await configuredProvider(context, providerName, options);
  const way = chooseWay(options, configured);
  assertSettings(configured);
  if (way === 'authorization_code') {
    await assertClient(configured, redirectUriToRegister(options, configured));
  }

  const connected = await context.withState(async (state): Promise<Connected | null> => {
    const existing = await existingGrant(state, { name, user, provider: configured.name });
    const secret = ownSecret(configured, found?.clientSecret ?? null, existing);
    const provider = withSecret(configured, secret);
    const plan = planDomains(options, provider, existing?.sealed.audience ?? null);
    const scopes = scopesToAsk(options.scopes, provider, existing?.grant ?? null);
    const asked = { context, state, provider, name, user, scopes, existing, options };
    if (options.printUrl === true && way === 'authorization_code') {
      await (await import('./print-url.ts')).printUrl(asked);
      return null;
    }
    const patience = startPatience(timeout, systemTimers);
    const connecting = withUpstreamClient(state.config, context.env, (upstream) => {
      const request: ConnectRequest = { ...asked, upstream: upstream, signal: patience.signal };
      const keep = async (obtained: Obtained) => {
        const { credential, ...rest } = sealingSecret(obtained, provider, secret);
        if (options.verify === true) await assertWorks(request, { credential, audience: plan.audience });
        return settle({ ...request, plan }, { credential, ...rest });
      };
      return noting(request, existing, async () =>
        way === 'authorization_code' ? byCode(request, keep) : keep(await (await obtainBy(way))(request)),
      );
    });
    return connecting.finally(() => patience.end());
  });
  if (connected !== null) await report(context, configured, connected);
}

async function discovered(
  context: Context,
  address: string,
  options: ConnectOptions,
): Promise<FoundProvider> {
  const { discoverProvider } = await import('./discover.ts');
  return discoverProvider(context, address, options);
}

/** Keeps the credential before the browser shows its last page. */
async function byCode(
  request: ConnectRequest,
  keep: (obtained: Obtained) => Promise<Connected>,
): Promise<Connected> {
  const { byAuthorizationCode } = await import('./authorization-code.ts');
  return byAuthorizationCode(request, keep, (connected) => connectedPage(request.provider, connected));
}

/** The ways besides a consent in a browser, each imported when it is gone. */
const ways: { readonly [way in Exclude<Way, 'authorization_code'>]: () => Promise<Obtain> } = {
  device_code: async () => (await import('./device.ts')).obtainByDevice,
  client_credentials: async () => (await import('./assertions.ts')).obtainByClientCredentials,
  jwt_bearer: async () => (await import('./assertions.ts')).obtainByJwtBearer,
  token_exchange: async () => (await import('./assertions.ts')).obtainByTokenExchange,
  auth0_connection: async () => (await import('./auth0.ts')).obtainViaAuth0,
  github_installation: async () => (await import('./assertions.ts')).obtainByGithubInstallation,
  aws_role: async () => (await import('./assertions.ts')).obtainByAwsRole,
  token: async () => (await import('./token.ts')).pasteToken,
  import: async () => (await import('./token.ts')).importToken,
};

/** The way, ready to be gone. */
function obtainBy(way: keyof typeof ways): Promise<Obtain> {
  return ways[way]();
}

/** The result of a connect, for a person or for a program. */
export async function report(context: Context, { title }: Provider, connected: Connected): Promise<void> {
  const { output, now, configFile } = context;
  const { grant, replaced, audience, details, edits, ungranted, warnings } = connected;
  const at = now();
  const file = await configFile();
  const said = edits.every(({ change }) => change === 'added') ? 'added to' : 'now in';
  output.result(
    {
      ...grantJson(grant, at),
      audience,
      account: details,
      replaced,
      ungranted_scopes: ungranted,
      domains: edits.map(({ pattern }) => pattern),
      warnings: warnings.map(({ sentence }) => sentence),
    },
    lines(replaced ? `Connected ${titleOf(grant)} again.` : `Connected ${titleOf(grant)}.`, {
      id: grant.id,
      provider: title === grant.provider ? title : `${grant.provider}: ${title}`,
      user: grant.user,
      account: accountOf(details),
      state: stateNow(grant, at),
      scopes: scopesOf(grant),
      expires: `${expiryOf(grant, at)}${grant.refreshable && grant.expiresAt !== null ? ', and is renewed before' : ''}`,
      audience: audience.join(', '),
      domains:
        edits.length === 0
          ? null
          : `${edits.map(({ pattern }) => pattern).join(', ')} (${said} ${displayName(file, process.cwd())})`,
    }),
  );
  for (const { sentence, hint } of warnings)
    output.say(`Note: ${sentence}${hint === null ? '' : `\n  → ${hint}`}`);
}

/** What the browser shows. */
function connectedPage({ title }: Provider, { grant, warnings }: Connected): Omit<FinishPage, 'kind'> {
  return {
    title: `${title} is connected`,
    says: [
      `The grant is called ${titleOf(grant)}.${grant.refreshable ? ' Sidekey renews its token by itself.' : ''}`,
      ...warnings.map(({ sentence }) => sentence),
      'You may close this window.',
    ],
  };
}

/** A way to a credential: a flow of OAuth, or a person who has one already. */
export type Way = Flow | 'token' | 'import';

type Options = Omit<ConnectOptions, 'name' | 'user'>;

/** The options that choose a way, as they are typed. */
const choices: readonly (readonly [option: string, way: Way, isSaid: (options: Options) => boolean])[] = [
  ['--device', 'device_code', ({ device }) => device === true],
  ['--client-credentials', 'client_credentials', ({ clientCredentials }) => clientCredentials === true],
  ['--jwt-bearer', 'jwt_bearer', ({ jwtBearer }) => jwtBearer === true],
  ['--token-exchange', 'token_exchange', ({ tokenExchange }) => tokenExchange === true],
  ['--installation-id', 'github_installation', ({ installationId }) => installationId !== undefined],
  ['--assume-role', 'aws_role', ({ assumeRole }) => assumeRole !== undefined],
  ['--via', 'auth0_connection', ({ via }) => via !== undefined],
  ['--token', 'token', ({ token }) => token === true],
  ['--import', 'import', (options) => options.import === true],
];

/** Options of a consent in a browser; they go with a way that needs one, and choose it where no other is named. */
const browserOptions: readonly (readonly [option: string, isSaid: (options: Options) => boolean])[] = [
  ['--print-url', ({ printUrl }) => printUrl === true],
  ['--paste', ({ paste }) => paste === true],
  ['--browser', ({ browser }) => browser !== undefined],
  ['--port', ({ port }) => port !== undefined],
  ['--redirect-uri', ({ redirectUri }) => redirectUri !== undefined],
];

/**
 * The way that the options name, else the usual one of the provider.
 *
 * @throws SidekeyError `input_invalid` where the options name two
 */
export function chooseWay(options: Options, { flows }: Pick<Provider, 'flows'>): Way {
  const [first, second] = choices.filter(([, , isSaid]) => isSaid(options));
  const inBrowser = browserOptions.find(([, isSaid]) => isSaid(options));
  if (first === undefined) return inBrowser === undefined ? (flows[0] ?? 'token') : 'authorization_code';
  const [option, way] = first;
  if (second !== undefined) throw both(option, second[0]);
  // An account at Auth0 is connected in one go, by one process.
  const takesBrowser = way === 'auth0_connection' && options.printUrl !== true;
  if (inBrowser !== undefined && !takesBrowser) throw both(option, inBrowser[0]);
  return way;
}

function both(one: string, other: string): SidekeyError {
  return new SidekeyError('input_invalid', `${one} and ${other} do not go together.`, {
    hint: 'leave one of them out',
  });
}

/** A sentence that a person should read, and what can be done. */
interface Warning {
  readonly sentence: string;
  readonly hint: string | null;
}

/** What a consent led to. */
interface Connected {
  readonly grant: Grant;
  /** Whether there was a grant of that name, whose id it keeps. */
  readonly replaced: boolean;
  readonly audience: readonly string[];
  readonly details: Readonly<Record<string, string>>;
  readonly edits: DomainChanges['edits'];
  /** Asked for, and not granted. */
  readonly ungranted: readonly string[];
  readonly warnings: readonly Warning[];
}

/** What of a request this needs. */
type SettleRequest = Pick<ConnectRequest, 'context' | 'state' | 'provider' | 'name' | 'user' | 'scopes'> & {
  readonly plan: DomainPlan;
};

/**
 * Stores what was obtained, and lets the provider's hosts have it. The grant is there whatever becomes of the map: a
 * consent is not thrown away for a file that cannot be written.
 *
 * @throws SidekeyError `already_exists`, `audit_unavailable`; what `keepGrant` throws
 */
export async function settle(request: SettleRequest, obtained: Obtained): Promise<Connected> {
  const { context, state, provider, name, user, plan } = request;
  const { credential, scopes, details = {} } = obtained;
  const { audience, widened, grown, kept } = plan;
  const { grant, replaced } = await keepGrant(
    state,
    { name, user, provider: provider.name, scopes },
    { credential, audience, ...(Object.keys(details).length === 0 ? {} : { details }) },
    {
      event: 'grant.connected',
      reason: widened.length === 0 ? undefined : `widened to ${widened.join(', ')}`,
      keepsOut: (existing) => refuseOtherProvider(existing, provider.name),
      now: context.now,
    },
  );
  // The failure that may have led here is over.
  if (replaced && credential.type === 'oauth2') state.activity.refreshed(grant.id);
  const warnings: Warning[] = [];
  const warn = (sentence: string, hint: string | null) => warnings.push({ sentence, hint });

  // Of what was pasted nobody has asked for scopes.
  const ungranted = credential.type === 'oauth2' ? ungrantedScopes(request.scopes, scopes) : [];
  if (ungranted.length > 0) {
    warn(`Asked for ${ungranted.join(' ')} too; the provider did not grant it.`, null);
  }
  if (widened.length > 0) {
    warn(
      `The credential may now also be sent to ${widened.join(', ')}, which the provider ${provider.name} does not name.`,
      `if that is not meant: ${grantCommand('remove', grant)}, and connect without --widen`,
    );
  }
  if (kept.length > 0) {
    warn(
      `The credential may still be sent to ${kept.join(', ')}, which the grant had before and the provider ${provider.name} does not name.`,
      `if that is not meant: ${grantCommand('remove', grant)}, and connect again`,
    );
  }
  if (grown.length > 0) {
    warn(`The credential may now also be sent to ${grown.join(', ')}, as the provider says.`, null);
  }
  if (!grant.refreshable && grant.expiresAt !== null && credential.type === 'oauth2') {
    warn(
      `There is no refresh token: the token ends ${relativeTime(grant.expiresAt, context.now())}, and then it takes a new consent.`,
      replaceCommand(grant, [], provider, credential),
    );
  }
  const { edits, blocked } = await allowDomains(context, state, grant, plan).catch((error: unknown) => {
    if (!(error instanceof SidekeyError)) throw error;
    const [first = 'HOST'] = plan.entries;
    warn(`The allowed-domains map is as it was: ${error.message}`, allowCommand(first, name));
    return { edits: [], blocked: [] };
  });
  for (const { pattern, says } of blocked) {
    warn(`The map says of ${pattern} already: ${says}. It was left as it is.`, allowCommand(pattern, name));
  }
  return { grant, replaced, audience, details, edits, ungranted, warnings };
}
