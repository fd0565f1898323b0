import type { Provider } from '../../domain/provider.ts';
import { defaultUser, stateNow, titleOf } from '../../domain/grant.ts';
import { noting } from '../../grants/connected.ts';
import { scopesFor } from '../../grants/consent.ts';
import { type Obtained, withClient } from '../../grants/keep.ts';
import { parseCallback } from '../../grants/oauth/authorization-code.ts';
import { readScopes } from '../../grants/oauth/scopes.ts';
import type { OpenedGrant } from '../../domain/credential.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import { systemTimers } from '../../lib/timers.ts';
import {
  beginPending,
  clientOf,
  codeConsent,
  finishPending,
  stateOf,
} from '../../operations/connect/consent.ts';
import { signInName } from '../../operations/connect/by-sign-in.ts';
import { planDomains } from '../../operations/connect/domains.ts';
import { type Connected, finishGrant } from '../../operations/connect/finish.ts';
import {
  assertClient,
  assertSettings,
  configuredProvider,
} from '../../operations/connect/provider-settings.ts';
import { assertNotByHand, renewedClient } from '../../operations/connect/new-client.ts';
import { redirectTarget, redirectUriToRegister } from '../../operations/connect/redirect.ts';
import type { ConnectOptions, ConnectRequest } from '../../operations/connect/request.ts';
import { checkedUser, checkName, isoTime, relativeTime } from '../../operations/format.ts';
import { type Context, withInput, withUpstreamClient } from '../context.ts';
import { metadataOf } from '../grant/set.ts';
import { changingParts } from '../operation-command.ts';
import { probeOf } from '../status/ask-proxy.ts';
import { confirm } from '../terminal.ts';
import { consentInBrowser } from './browser/consent.ts';
import { chooseProvider, chooseScopes, chooseServer } from './choose.ts';
import { startConsentTimeout, timeoutOf } from './consent-timeout.ts';
import type { ConnectFlow } from './flows.ts';
import { connectedPage, report } from './report.ts';

const defaultTimeoutMs = 300_000;
const printedTimeoutMs = 3_600_000;

/** `sidekey connect`: reports missing settings before any prompt. */
export async function connect(
  context: Context,
  named: string | undefined,
  options: ConnectOptions,
): Promise<void> {
  if (options.finish !== undefined) return finishConsent(context, named, options);
  if (options.state !== undefined && options.printUrl !== true)
    throw inputInvalid('--state belongs to --print-url or --finish.', 'leave it out');
  if (named === undefined) {
    const { name, login } = await chooseProvider(context);
    return login === null
      ? connect(context, name, options)
      : connect(withInput(context, login.input), name, { ...options, token: true });
  }
  const given = options.fromEnv === undefined ? context : fromVariable(context, options.fromEnv);
  // Checked before `defined` writes a provider to the config file or registers a client.
  writtenFlow(options);
  const { user = defaultUser, scope } = options;
  checkedUser(user);
  if (options.name !== undefined) checkName('name of the grant', options.name);
  if (scope !== undefined) readScopes(scope);
  redirectTarget(options);
  const timeout = timeoutOf(options.timeout, defaultTimeoutMs);
  const metadata = metadataOf(options.meta ?? []);
  const found = await defined(context, named, options);
  const providerName = found?.provider.name ?? named;
  const { name = providerName } = options;
  checkName('name of the grant', name);

  const configured = await configuredProvider(context, providerName, options);
  const asks = context.ask !== null;
  const flow = chooseFlow(options, configured, asks);
  assertSettings(configured);
  const isCode = flow === 'authorization_code';
  if (options.register === true) assertNotByHand(configured);
  else if (isCode) await assertClient(configured, redirectUriToRegister(options, configured), asks);

  const connected = await context.withState(async (opened): Promise<Connected | null> => {
    const state = await changingParts(context, opened);
    const known = await clientOf(state, configured, { name, user });
    const { existing } = known;
    await assertReplaces(context, existing, options);
    const isConsent = isCode || flow === 'device_code';
    const own = found?.client?.own ?? null;
    const renewing = { state, existing, options: { ...options, discover: found !== null }, parts: context };
    const renewed = own === null && isConsent ? await renewedClient(known.provider, renewing) : null;
    const { provider: current, secret: kept } =
      own === null ? (renewed ?? known) : { provider: withClient(configured, own), secret: own.secret };
    const asksSecret = kept === null && isCode && options.printUrl !== true;
    const secret = asksSecret ? await typedSecret(context, current) : kept;
    const provider = withClient(current, { secret });
    const plan = planDomains(options, provider, existing?.sealed.audience ?? null);
    const asksScopes = options.scope === undefined && existing === null && (isCode || flow === 'device_code');
    const written = asksScopes ? await chooseScopes(context, provider) : options.scope;
    const scopes = scopesFor(written && readScopes(written), provider, existing?.grant ?? null);
    const asked = { state, provider, name, user, scopes, existing, options, output: context.output };
    if (options.printUrl === true && isCode) {
      if (options.meta !== undefined) throw conflicting('--print-url', '--meta');
      await renewed?.save();
      await printUrl(context, { ...asked, secret });
      return null;
    }
    const waiting = startConsentTimeout(timeout, systemTimers);
    const { unreadable } = probeOf(state.config);
    const connecting = state.withFetch((fetch) => {
      const parts = { ...state.renewal(fetch), fetch };
      const request: ConnectRequest = { ...asked, parts, signal: waiting.signal };
      const how = { flow, plan, secret, verify: options.verify, metadata, unreadable };
      const keep = (obtained: Obtained) => finishGrant({ ...request, ...how }, obtained);
      return noting(request, existing, async () => {
        if (!isCode) return keep(await (await import('./flows.ts')).obtain(flow, given, request));
        const consent = { ...codeConsent(request, keep), page: connectedPage(provider) };
        return consentInBrowser({ ...request, context }, consent);
      });
    });
    const connected = await connecting.finally(() => waiting.end());
    await renewed?.save();
    return connected;
  });
  if (connected === null) return;
  await report(context, configured, connected);
  if (options.fromEnv !== undefined) {
    context.output.say(
      `${options.fromEnv} is still set, and programs that you start can read it.\n  → unset ${options.fromEnv}, and delete it from the files of your shell (~/.profile, ~/.bashrc, ~/.zshrc)`,
    );
  }
}

/** Writes a provider that the options discover or define. Returns a discovered one; null: none. */
async function defined(context: Context, named: string, options: ConnectOptions) {
  const { authUrl, tokenUrl, clientMetadataUrl, via, connection, allowedDomains } = options;
  const discover = options.discover ?? /^https?:\/\//i.test(named);
  const [one, other] = clientOptions.filter(([, name]) => options[name] !== undefined);
  if (one !== undefined && other !== undefined) throw conflicting(one[0], other[0]);
  const isManual = authUrl !== undefined || tokenUrl !== undefined;
  if (options.userinfoUrl !== undefined && !isManual)
    throw inputInvalid('--userinfo-url goes with --auth-url.', 'leave it out, or name the login page too');
  const isByAuth0 =
    via !== undefined && connection !== undefined && allowedDomains !== undefined && !isManual;
  const withFetch: ConnectRequest['state']['withFetch'] = async (use) =>
    withUpstreamClient(await context.config(), context.env, ({ fetch }) => use(fetch));
  if (clientMetadataUrl !== undefined) {
    const { checkDocument } = await import('../../operations/connect/client-document.ts');
    const unread = await withFetch((fetch) => checkDocument(clientMetadataUrl, options, { fetch }));
    if (unread !== null)
      context.output.say(`Note: ${clientMetadataUrl} could not be read from this machine: ${unread}.`);
  }
  if (!discover && !isManual && !isByAuth0) return null;
  const { defineByAuth0, defineProvider, discoverProvider } =
    await import('../../operations/connect/define-provider.ts');
  if (isByAuth0) {
    const { providers } = await context.config();
    if (!providers.names.includes(named)) await defineByAuth0(context, named, options);
    return null;
  }
  const choose = (servers: readonly string[]) => chooseServer(context, servers);
  const found = discover ? await discoverProvider({ ...context, withFetch, choose }, named, options) : null;
  if (isManual) await defineProvider({ ...context, withFetch }, found?.provider.name ?? named, options);
  return found;
}

/** `connect --print-url`: starts a consent that `connect --finish` completes. */
async function printUrl(
  { output, now }: Context,
  request: Parameters<typeof beginPending>[0],
): Promise<void> {
  const { provider, name, user, options } = request;
  const at = now();
  const expiresAt = at + timeoutOf(options.timeout, printedTimeoutMs);
  const { url, state, redirectUri } = await beginPending(request, expiresAt);
  output.result(
    {
      provider: provider.name,
      name,
      user,
      consent_url: url,
      state,
      redirect_uri: redirectUri,
      expires_at: isoTime(expiresAt),
    },
    url,
  );
  output.say(
    [
      `Open this address in a browser. The browser ends at ${redirectUri}?…, which may be an error page.`,
      `Copy the address of that page. ${relativeTime(expiresAt, at).replace(/^in /, 'Within ')}, run:`,
      `  → sidekey connect --finish 'ADDRESS'`,
      `  → sidekey connect --finish CODE --state ${state}   (with the code alone)`,
    ].join('\n'),
  );
}

/** `connect --finish`: completes a consent of `--print-url`, from this or another process. */
async function finishConsent(
  context: Context,
  named: string | undefined,
  { finish = '', state: said, verify, meta = [] }: ConnectOptions,
): Promise<void> {
  const metadata = metadataOf(meta);
  const callback = parseCallback(finish === '-' ? await context.readInput() : finish);
  const answer = { callback, flowState: stateOf(callback, said), named };
  const { provider, connected } = await context.withState(async (state) => {
    const { unreadable } = probeOf(state.config);
    return finishPending(await changingParts(context, state), answer, { verify, metadata, unreadable });
  });
  await report(context, provider, connected);
}

/**
 * `--from-env`: the context with the variable as standard input.
 *
 * @throws SidekeyError `input_invalid` if the variable is not set
 */
function fromVariable(context: Context, name: string): Context {
  // The text may be the key itself.
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) || !context.env[name]) {
    const shown = /^[A-Z][A-Z0-9_]{0,40}$/.test(name) ? name : 'The variable of --from-env';
    throw inputInvalid(
      `${shown} is not set in this shell.`,
      'export the variable that has the key, or name another one, and repeat the command',
    );
  }
  return withInput(context, context.env[name]);
}

/** Prompts for a client secret that the config lacks; null: a public client. The grant seals the secret. */
async function typedSecret({ ask }: Context, provider: Provider): Promise<string | null> {
  const { clientSecret, clientAuth, title } = provider;
  if (ask === null || clientSecret !== null || clientAuth === 'none' || clientAuth === 'private_key_jwt')
    return null;
  const question = `Client secret at ${title} (not shown; Enter if the client has none)`;
  return (await ask(question, { secret: true, isOptional: true })) || null;
}

/**
 * Asks for confirmation to replace a working credential: the new one may belong to another account.
 *
 * @throws SidekeyError `already_exists` if the answer is no, or there is no terminal
 */
async function assertReplaces(
  { openLines, now, ask }: Context,
  existing: OpenedGrant | null,
  { scope, replace }: ConnectOptions,
): Promise<void> {
  // A request for scopes is for the same account.
  if (existing === null || replace === true || scope !== undefined) return;
  if (stateNow(existing.grant, now()) !== 'active') return;
  const sentence = `${titleOf(existing.grant)} is connected already.`;
  if (ask !== null && (await confirm(openLines, `${sentence} Replace its credential?`, false))) return;
  throw new SidekeyError('already_exists', `${sentence} Its credential was not changed.`, {
    hint: 'for a second account, add --name NAME; to replace the credential, add --replace',
  });
}

/** Options that name a client, or have one registered. */
const clientOptions = [
  ['--client-id', 'clientId'],
  ['--client-metadata-url', 'clientMetadataUrl'],
  ['--register', 'register'],
] as const;

type Options = Omit<ConnectOptions, 'name' | 'user'>;
type ChoosingProvider = Pick<Provider, 'name' | 'flows' | 'token' | 'clientId' | 'logins' | 'domains'>;

/** Options that choose a flow, as typed. */
const choices: readonly (readonly [option: string, flow: ConnectFlow, name: keyof Options])[] = [
  ['--device', 'device_code', 'device'],
  ['--client-credentials', 'client_credentials', 'clientCredentials'],
  ['--jwt-bearer', 'jwt_bearer', 'jwtBearer'],
  ['--token-exchange', 'token_exchange', 'tokenExchange'],
  ['--installation-id', 'github_installation', 'installationId'],
  ['--assume-role', 'aws_role', 'assumeRole'],
  ['--via', 'auth0_connection', 'via'],
  ['--token', 'token', 'token'],
  ['--from-env', 'token', 'fromEnv'],
  ['--from', 'source', 'from'],
  ['--import', 'import', 'import'],
];

/** Options of a consent in a browser. They require a flow with a browser, and choose it by default. */
const browserOptions: readonly (readonly [option: string, name: keyof Options])[] = [
  ['--print-url', 'printUrl'],
  ['--paste', 'paste'],
  ['--browser', 'browser'],
  ['--port', 'port'],
  ['--redirect-uri', 'redirectUri'],
];

/**
 * Returns the flow of the options, else the default of the provider. If a consent needs a client and none is
 * registered, the default is a pasted key.
 *
 * @param asks true if a person can be asked
 * @throws SidekeyError `input_invalid` if the options name two, or its programs log in by themselves
 */
export function chooseFlow(options: Options, provider: ChoosingProvider, asks: boolean): ConnectFlow {
  const { flows, token, clientId } = provider;
  const written = writtenFlow(options);
  if (written !== null) return written;
  if (token === null && flows.length === 0 && provider.logins.length > 0) throw logsInItself(provider);
  return asks && token !== null && clientId === null ? 'token' : (flows[0] ?? 'token');
}

/** Returns the flow of the options; null: none. @throws SidekeyError `input_invalid` if they name two */
function writtenFlow(options: Options): ConnectFlow | null {
  const [first, second] = choices.filter(([, , name]) => options[name] !== undefined);
  const inBrowser = browserOptions.find(([, name]) => options[name] !== undefined);
  if (first === undefined) return inBrowser === undefined ? null : 'authorization_code';
  const [option, named] = first;
  const flow = named === 'auth0_connection' && options.via === signInName ? 'id_jag' : named;
  if (second !== undefined) throw conflicting(option, second[0]);
  // One process connects an account at Auth0.
  const takesBrowser = flow === 'auth0_connection' && options.printUrl !== true;
  if (inBrowser !== undefined && !takesBrowser) throw conflicting(option, inBrowser[0]);
  return flow;
}

function logsInItself({ name, logins, domains }: ChoosingProvider): SidekeyError {
  const programs = logins.map(({ program }) => program).join(', ');
  return inputInvalid(
    `${programs} logs in by itself, and Sidekey keeps that login.`,
    [
      `set providers.${name}.capture_logins: true in the config (docs/logins.md)`,
      ...domains.map((host) => `sidekey domain allow ${host} --grant ${name}`),
      'log in below sidekey run; or paste a token:',
      `sidekey connect ${name} --token`,
    ].join('\n  → '),
  );
}

function conflicting(one: string, other: string): SidekeyError {
  return inputInvalid(`${one} and ${other} do not go together.`, 'leave one of them out');
}
