import { planDomains } from './allowed-domains.ts';
import { redirectUriToRegister } from './browser/browser.ts';
import { type Connected, connectedPage, report, finishGrant } from './finish-grant.ts';
import {
  assertClient,
  assertSettings,
  configuredProvider,
  defineProvider,
  discoverProvider,
  scopesToAsk,
} from './provider-settings.ts';
import {
  type ConnectOptions,
  type ConnectRequest,
  type Obtain,
  startConsentTimeout,
  timeoutOf,
} from './request.ts';
import { type Context, withInput, withUpstreamClient } from '../context.ts';
import { checkName } from '../../operations/format.ts';
import { metadataOf } from '../grant/set.ts';
import { confirm } from '../terminal.ts';
import { defaultUser, stateNow, titleOf } from '../../domain/grant.ts';
import type { OpenedGrant } from '../../grants/registry.ts';
import type { Flow, Provider } from '../../domain/provider.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import { systemTimers } from '../../lib/timers.ts';
import { existingGrant, ownSecret, sealingSecret, withSecret, type Obtained } from '../../grants/keep.ts';
import { noting } from '../../grants/connected.ts';

const defaultTimeoutMs = 300_000;

/** `sidekey connect`: reports missing settings before any prompt. */
export async function connect(
  context: Context,
  named: string | undefined,
  options: ConnectOptions,
): Promise<void> {
  if (options.finish !== undefined) {
    return (await import('./flows/print-url.ts')).finishConsent(context, named, options);
  }
  if (options.state !== undefined) {
    throw new SidekeyError('input_invalid', '--state belongs to --finish.', { hint: 'leave it out' });
  }
  if (named === undefined) {
    const { chooseProvider } = await import('./choose.ts');
    const { name, login } = await chooseProvider(context);
    return login === null
      ? connect(context, name, options)
      : connect(withInput(context, login.input), name, { ...options, token: true });
  }
  const given = options.fromEnv === undefined ? context : fromVariable(context, options.fromEnv);
  const found = options.discover === true ? await discoverProvider(context, named, options) : null;
  const providerName = found?.provider.name ?? named;
  if (options.authUrl !== undefined || options.tokenUrl !== undefined) {
    await defineProvider(context, providerName, options);
  }
  const name = options.name ?? providerName;
  const user = options.user ?? defaultUser;
  checkName('name of the grant', name);
  checkName('name of the user', user);
  const timeout = timeoutOf(options.timeout, defaultTimeoutMs);
  const metadata = metadataOf(options.meta ?? []);

  const configured = await configuredProvider(context, providerName, options);
  const flow = chooseFlow(options, configured, context.ask !== null);
  assertSettings(configured);
  if (flow === 'authorization_code') {
    await assertClient(configured, redirectUriToRegister(options, configured), context.ask !== null);
  }

  const connected = await context.withState(async (state): Promise<Connected | null> => {
    const existing = await existingGrant(state, { name, user, provider: configured.name });
    await assertReplaces(context, existing, options);
    const kept = ownSecret(configured, found?.clientSecret ?? null, existing);
    const secret =
      kept === null && flow === 'authorization_code' && options.printUrl !== true
        ? await typedSecret(context, configured)
        : kept;
    const provider = withSecret(configured, secret);
    const before = existing?.sealed.audience ?? null;
    const plan =
      options.keepsAudience === true && before !== null
        ? { audience: before, widened: [], grown: [], kept: [], entries: [], named: false }
        : planDomains(options, provider, before);
    const asksScopes = options.scope === undefined && existing === null;
    const written =
      asksScopes && (flow === 'authorization_code' || flow === 'device_code')
        ? await (await import('./choose.ts')).chooseScopes(context, provider)
        : options.scope;
    const scopes = scopesToAsk(written, provider, existing?.grant ?? null);
    const asked = { context: given, state, provider, name, user, scopes, existing, options };
    if (options.printUrl === true && flow === 'authorization_code') {
      if (options.meta !== undefined) throw conflicting('--print-url', '--meta');
      await (await import('./flows/print-url.ts')).printUrl(asked);
      return null;
    }
    const consentTimeout = startConsentTimeout(timeout, systemTimers);
    const connecting = withUpstreamClient(state.config, context.env, (upstream) => {
      const request: ConnectRequest = { ...asked, upstream, signal: consentTimeout.signal };
      const keep = async (obtained: Obtained) => {
        const sealing = sealingSecret(obtained, provider, secret);
        return finishGrant({ ...request, flow, plan, verify: options.verify, metadata }, sealing);
      };
      return noting(request, existing, async () => {
        if (flow !== 'authorization_code') return keep(await (await obtainers[flow]())(request));
        const { byAuthorizationCode } = await import('./flows/authorization-code.ts');
        return byAuthorizationCode(request, keep, (connected) => connectedPage(provider, connected));
      });
    });
    return connecting.finally(() => consentTimeout.end());
  });
  if (connected === null) return;
  await report(context, configured, connected);
  if (options.fromEnv !== undefined) {
    context.output.say(
      `${options.fromEnv} is still set, and programs that you start can read it.\n  → unset ${options.fromEnv}, and delete it from the files of your shell (~/.profile, ~/.bashrc, ~/.zshrc)`,
    );
  }
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
    throw new SidekeyError('input_invalid', `${shown} is not set in this shell.`, {
      hint: 'name a variable that is exported: sidekey connect openai --from-env OPENAI_API_KEY',
    });
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

/** Flows without a browser, each imported at its first use. */
const obtainers: { readonly [flow in Exclude<ConnectFlow, 'authorization_code'>]: () => Promise<Obtain> } = {
  device_code: async () => (await import('./flows/device.ts')).obtainByDevice,
  client_credentials: async () => (await import('./flows/assertions.ts')).obtainByClientCredentials,
  jwt_bearer: async () => (await import('./flows/assertions.ts')).obtainByJwtBearer,
  token_exchange: async () => (await import('./flows/assertions.ts')).obtainByTokenExchange,
  auth0_connection: async () => (await import('./flows/auth0.ts')).obtainViaAuth0,
  github_installation: async () => (await import('./flows/assertions.ts')).obtainByGithubInstallation,
  aws_role: async () => (await import('./flows/assertions.ts')).obtainByAwsRole,
  token: async () => (await import('./flows/token.ts')).pasteToken,
  import: async () => (await import('./flows/token.ts')).importToken,
  source: async () => (await import('./flows/source.ts')).connectSource,
};

/** A flow of OAuth, or a credential that the user supplies, or its source. */
export type ConnectFlow = Flow | 'token' | 'import' | 'source';

type Options = Omit<ConnectOptions, 'name' | 'user'>;

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
export function chooseFlow(
  options: Options,
  provider: Pick<Provider, 'name' | 'flows' | 'token' | 'clientId' | 'logins' | 'domains'>,
  asks: boolean,
): ConnectFlow {
  const { flows, token, clientId } = provider;
  const [first, second] = choices.filter(([, , name]) => options[name] !== undefined);
  const inBrowser = browserOptions.find(([, name]) => options[name] !== undefined);
  if (first === undefined && inBrowser !== undefined) return 'authorization_code';
  if (first === undefined && token === null && flows.length === 0 && provider.logins.length > 0)
    throw logsInItself(provider);
  if (first === undefined)
    return asks && token !== null && clientId === null ? 'token' : (flows[0] ?? 'token');
  const [option, flow] = first;
  if (second !== undefined) throw conflicting(option, second[0]);
  // One process connects an account at Auth0.
  const takesBrowser = flow === 'auth0_connection' && options.printUrl !== true;
  if (inBrowser !== undefined && !takesBrowser) throw conflicting(option, inBrowser[0]);
  return flow;
}

function logsInItself({
  name,
  logins,
  domains,
}: Pick<Provider, 'name' | 'logins' | 'domains'>): SidekeyError {
  const programs = logins.map(({ program }) => program).join(', ');
  return new SidekeyError('input_invalid', `${programs} logs in by itself, and Sidekey keeps that login.`, {
    hint: [
      `set providers.${name}.capture_logins: true in the config (docs/logins.md)`,
      ...domains.map((host) => `sidekey domain allow ${host} --grant ${name}`),
      'log in below sidekey run; or paste a token:',
      `sidekey connect ${name} --token`,
    ].join('\n  → '),
  });
}

function conflicting(one: string, other: string): SidekeyError {
  return inputInvalid(`${one} and ${other} do not go together.`, 'leave one of them out');
}
