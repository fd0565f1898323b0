import { hash } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { anonymous, placeOf } from '../domain/lease.ts';
import { placeholderCodes } from '../app/state.ts';
import { openCa } from '../ca/existing-authority.ts';
import type { Context } from './context.ts';
import { proxyUrl, reachable, readSpan } from '../operations/format.ts';
import { cappedText, leaseClockText } from '../operations/lease-text.ts';
import { type MadeLease, makeLease } from '../operations/make-lease.ts';
import { offeredBy, offeredFirst } from '../operations/lookup.ts';
import type { ProxyEndpoint } from './run/proxy-endpoint.ts';
import {
  changedNames,
  renderRestored,
  renderVariables,
  type Shell,
  shellOf,
  shells,
  withheld,
} from '../clients/environment.ts';
import { withoutNpx } from '../clients/npx.ts';
import { parentNotes, trustVariables, writeTrustFiles } from '../clients/trust-files.ts';
import { clientVariables, withoutProxy } from '../clients/variables.ts';
import { credentialVariables } from '../config/catalog.ts';
import { environmentReferences } from '../config/load.ts';
import { tokenlessCallers } from '../config/proxy.ts';
import type { Grant } from '../domain/grant.ts';
import type { Provider } from '../domain/provider.ts';
import type { Config } from '../config/config.ts';
import { SidekeyError, systemCode } from '../lib/errors.ts';
import { shellWord } from '../lib/text.ts';
import { anyone, leaseHolder, mintFor } from '../proxy/placeholders/codes.ts';

export interface EnvOptions {
  readonly shell?: string;
  readonly proxy?: string;
  readonly agent?: string;
  readonly grant?: readonly string[];
  readonly ttl?: string;
  readonly keep?: readonly string[];
  readonly unset?: boolean;
  readonly baseUrls?: boolean;
}

/**
 * `sidekey env`: prints the variables for a running proxy. With `--agent` they include the token of a new
 * lease, intentionally on standard output.
 */
export async function printEnvironment(context: Context, options: EnvOptions): Promise<void> {
  const { withView, output, env: parent, now } = context;
  const at = now();
  const shell = options.shell === undefined ? shellOf(parent, process.platform) : readShell(options.shell);
  if (options.unset === true) {
    printRestored(context, shell);
    return;
  }
  const ttlMs = options.ttl === undefined ? null : readSpan('--ttl', options.ttl);
  const { agent } = options;
  const idle = (['grant', 'ttl'] as const).find((name) => agent === undefined && options[name] !== undefined);
  if (idle !== undefined) {
    throw new SidekeyError('input_invalid', `--${idle} needs --agent.`, {
      hint: 'sidekey env --agent NAME --grant GRANT',
    });
  }
  const { config, grants, authority, vault } = await withView(async (view) => ({
    config: view.config,
    grants: await view.grants(),
    authority: await openCa(view, now),
    vault: await view.vault(),
  }));
  const place = proxyPlace(config.proxy.listen, options.proxy);
  if (agent === undefined && tokenlessCallers(config.proxy) === null) {
    const isRequired = config.proxy.authentication === 'required';
    const why = isRequired ? 'proxy.authentication' : 'this system does not report the user of a connection';
    throw new SidekeyError('input_invalid', `The proxy requires a token (${why}).`, {
      hint: 'sidekey env --agent NAME --grant GRANT',
    });
  }
  // Before the lease, to reject unsuitable values first.
  const folder = trustFolder(config.ca.directory, parent);
  const trust = await writeTrustFiles(folder, { authorityPem: authority.certificatePem, parent });
  const made = agent === undefined ? null : await leaseFor(context, { ...options, agent }, { ttlMs, at });
  const holder = made === null ? anyone : leaseHolder(made.lease.id);
  const url = proxyUrl(place, made === null ? undefined : `${made.lease.agent}:${made.secret}`);
  const variables = clientVariables({
    parent,
    proxy: { url, ...place },
    trust,
    noProxy: withoutProxy(config.domains, place),
  });
  const usual = made?.usual ?? grants.filter((grant) => placeOf(grant, [], anonymous) !== null);
  const reached = offeredFirst(config.domains, usual);
  const offered = new Set(config.domains.flatMap((domain) => offeredBy(domain, reached)));
  const credentials = withheld({
    parent,
    providers: credentialVariables(config.providers),
    reachable: grantNames(reached.filter((grant) => offered.has(grant))),
    references: environmentReferences(config),
    // Without a vault there are no grants.
    mint: vault === null ? undefined : mintFor(holder, reached, placeholderCodes(vault)),
    ...(options.keep === undefined ? {} : { keep: options.keep }),
  });
  const keys = credentials.set;
  const set =
    options.baseUrls === true
      ? baseUrlVariables(proxyUrl(place), { config, grants: offered, keys, token: made?.secret })
      : { ...keys, ...variables };
  const change = { set, remove: credentials.remove };
  const chained = config.upstream.proxy !== null;
  const notes = [
    ...trust.notes,
    ...parentNotes({ parent, proxy: place, domains: config.domains, chained }),
    ...(credentials.note === null ? [] : [credentials.note]),
    ...shellNotes(shell, change.remove, folder),
  ];
  if (output.json) {
    output.result({ ...change, lease: made?.lease.id ?? null, notes }, '');
    return;
  }
  output.bytes(Buffer.from(renderVariables(shell, change, parent[changedNames])));
  const words = [...(made === null ? [] : leaseWords(made, options.ttl, at)), ...notes];
  if (words.length > 0) output.say(words.join('\n'));
}

/**
 * Returns the variables of programs without proxy support: base addresses of the APIs that they reach, and
 * keys. Each key is the token of the lease, because such programs send nothing else.
 *
 * @throws SidekeyError `input_invalid`: no API of these grants has such a variable
 */
function baseUrlVariables(
  proxy: string,
  {
    config: { providers },
    grants,
    keys,
    token,
  }: {
    readonly config: Pick<Config, 'providers'>;
    readonly grants: ReadonlySet<Grant>;
    readonly keys: Readonly<Record<string, string>>;
    readonly token: string | undefined;
  },
): Readonly<Record<string, string>> {
  const names = new Set(Array.from(grants, ({ provider }) => provider));
  const known = [...names].flatMap((name) => providers.get(name) ?? []).filter(hasBaseUrls);
  if (known.length === 0)
    throw new SidekeyError('input_invalid', 'No grant is for an API whose base address is in a variable.', {
      hint: `give the program the base address ${proxy}/+/HOST/PATH, or set base_urls of the provider`,
    });
  const addresses = known.flatMap(({ baseUrls }) =>
    Object.entries(baseUrls).map(([name, url]) => [name, `${proxy}/+/${url.slice('https://'.length)}`]),
  );
  const ofKnown = known.flatMap(({ environment }) => environment.map(({ name }) => name));
  const own = Object.entries(keys).filter(([name]) => ofKnown.includes(name));
  return Object.fromEntries([...own.map(([name, key]) => [name, token ?? key]), ...addresses]);
}

function hasBaseUrls({ baseUrls }: Pick<Provider, 'baseUrls'>): boolean {
  return Object.keys(baseUrls).length > 0;
}

/**
 * Prints commands that undo the variables. Keeps the lease: other shells may have its token.
 *
 * @throws SidekeyError `not_found`
 */
function printRestored({ output, env }: Context, shell: Shell): void {
  const text = renderRestored(shell, env[changedNames]);
  if (text === null) {
    throw new SidekeyError('not_found', 'This shell has no variables of sidekey env.', {
      hint: 'eval "$(sidekey env)" sets them',
    });
  }
  if (output.json) output.result({ text }, '');
  else output.bytes(Buffer.from(text));
  if (URL.parse(env['HTTPS_PROXY'] ?? '')?.password)
    output.say(
      'The lease of this shell stays valid until its end: sidekey lease list, sidekey lease revoke ID',
    );
}

function leaseFor(
  { withState }: Context,
  { agent, grant }: EnvOptions & { readonly agent: string },
  { ttlMs, at }: { readonly ttlMs: number | null; readonly at: number },
): Promise<MadeLease> {
  const order = { agent, grants: grant ?? null, purpose: 'sidekey env', ttlMs, idleMs: null, maxUses: null };
  return withState((state) => makeLease(state, order, at));
}

function leaseWords({ lease, ttl }: MadeLease, asked: string | undefined, at: number): string[] {
  const capped = cappedText(ttl, asked);
  return [
    `The token of the lease ${lease.id} is in these lines, and is shown only once.`,
    leaseClockText(lease, at),
    ...(capped === null ? [] : [capped]),
  ];
}

/** Address of the proxy. An IPv6 address has no brackets. */
interface ProxyPlace {
  readonly host: string;
  readonly port: number;
}

/**
 * Parses `--proxy`, else the address of the config.
 *
 * @throws SidekeyError `input_invalid`: not a proxy URL, a URL with a token, or a port that is chosen at
 * start
 */
function proxyPlace(listen: ProxyPlace, option: string | undefined): ProxyPlace {
  if (option === undefined) {
    if (listen.port !== 0) return { host: reachable(listen.host), port: listen.port };
    throw new SidekeyError('input_invalid', 'The config has the port of the proxy chosen at its start.', {
      hint: 'sidekey env --proxy http://127.0.0.1:PORT, with the port that it named then',
    });
  }
  const url = URL.parse(option.includes('://') ? option : `http://${option}`);
  if (url?.protocol !== 'http:' || url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    throw new SidekeyError('input_invalid', '--proxy is not the URL of a proxy.', {
      hint: '--proxy http://127.0.0.1:8377',
    });
  }
  if (url.username !== '' || url.password !== '') {
    // All users of the machine can read arguments.
    throw new SidekeyError('input_invalid', 'The URL of --proxy has user information in it.', {
      hint: 'leave it out, and have a lease made: --agent NAME --grant GRANT',
    });
  }
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port === '' ? 80 : Number(url.port) };
}

const otherNames: Readonly<Record<string, Shell>> = { sh: 'bash', zsh: 'bash', pwsh: 'powershell' };

/** @throws SidekeyError `input_invalid` */
function readShell(text: string): Shell {
  const shell =
    shells.find((name) => name === text) ?? (Object.hasOwn(otherNames, text) ? otherNames[text] : undefined);
  if (shell !== undefined) return shell;
  throw new SidekeyError('input_invalid', 'The shell of --shell is not known.', {
    hint: `one of ${shells.join(', ')}; zsh and sh read what bash does`,
  });
}

/** Notes for formats that no shell reads. */
function shellNotes(shell: Shell, remove: readonly string[], trustFolder: string): readonly string[] {
  if (shell === 'docker') {
    const mount = shellWord(`${trustFolder}:${trustFolder}:ro`);
    return [
      `For: docker run --env-file FILE -v ${mount} --network host …`,
      '127.0.0.1 is the container itself without --network host: name the proxy as it sees it with --proxy.',
    ];
  }
  return shell === 'dotenv' && remove.length > 0
    ? [`A dotenv file removes no variable: make sure that ${remove.join(', ')} are not set.`]
    : [];
}

/**
 * Returns the folder for the trust files of `env`. It is beside the CA, because programs read the files after
 * the command has ended. Shells with other trust settings get separate folders, because their bundles differ.
 * A shell with our variables keeps its folder.
 *
 * @param directory absolute path of the CA
 */
function trustFolder(directory: string, parent: NodeJS.ProcessEnv): string {
  const base = join(directory, 'clients');
  const files = trustVariables.map((name) => parent[name] ?? '').filter((file) => file !== '');
  const ours = files.find((file) => dirname(dirname(file)) === base);
  if (ours !== undefined) return dirname(ours);
  const key = [...new Set(files)].toSorted().join('\0');
  return join(base, key === '' ? 'default' : hash('sha256', key).slice(0, 12));
}

/** Returns the name of the first grant of each provider, in the order of the grants. */
function grantNames(grants: readonly Grant[]): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  for (const { provider, name } of grants) if (!names.has(provider)) names.set(provider, name);
  return names;
}

/** Environment of a command. */
interface CommandEnvironment {
  readonly env: NodeJS.ProcessEnv;
  /** Line about removed credentials, printed before the command starts; null: none. */
  readonly taken: string | null;
  /** Sentences about the environment, for a person. */
  readonly notes: readonly string[];
  /** Removes the trust files. */
  close(): Promise<void>;
}

/**
 * Returns the parent's environment with the proxy variables, without credentials and additions of npx.
 *
 * @param keep names of variables that are always kept
 * @param trustFiles folder for the trust files; null: a new one
 * @throws SidekeyError `file_unwritable`
 */
export async function commandEnvironment(
  inherited: NodeJS.ProcessEnv,
  { proxy, authorityPem, config, lease }: ProxyEndpoint,
  keep: readonly string[],
  trustFiles: string | null,
): Promise<CommandEnvironment> {
  const parent = withoutNpx(inherited);
  const folder = trustFiles ?? (await privateFolder());
  try {
    const { domains, providers, upstream } = config();
    const trust = await writeTrustFiles(folder, { authorityPem, parent });
    const variables = clientVariables({ parent, proxy, trust, noProxy: withoutProxy(domains, proxy) });
    const grants = offeredFirst(domains, lease?.grants ?? []);
    const taken = withheld({
      parent,
      providers: credentialVariables(providers),
      reachable: lease === null ? null : grantNames(grants),
      references: environmentReferences(config()),
      keep,
      mint: lease === null ? undefined : mintFor(leaseHolder(lease.id), grants, lease.placeholders),
    });
    const env: NodeJS.ProcessEnv = { ...parent, ...variables, ...taken.set };
    for (const name of taken.remove) delete env[name];
    return {
      env,
      notes: [...trust.notes, ...parentNotes({ parent, proxy, domains, chained: upstream.proxy !== null })],
      taken: taken.note,
      close: () => remove(folder),
    };
  } catch (error) {
    await remove(folder);
    throw error;
  }
}

/** Creates a folder for one command. Its bundle depends on the parent's environment. */
async function privateFolder(): Promise<string> {
  try {
    const folder = await mkdtemp(join(tmpdir(), 'sidekey-run-'));
    // If root calls apt, its methods run as _apt. All files in the folder are public.
    if (process.getuid?.() === 0) await chmod(folder, 0o711);
    return folder;
  } catch (cause) {
    throw new SidekeyError(
      'file_unwritable',
      `The trust files of the command cannot be written: ${tmpdir()} cannot be written (${systemCode(cause)}).`,
      { hint: 'set TMPDIR to a folder of yours', cause },
    );
  }
}

async function remove(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true }).catch(() => undefined);
}
