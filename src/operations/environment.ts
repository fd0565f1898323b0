import { hash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { openCa } from '../ca/existing-authority.ts';
import { withheld, type WithheldFacts } from '../clients/environment.ts';
import { variablesOfOnly } from '../clients/programs.ts';
import { parentNotes, trustVariables, writeTrustFiles } from '../clients/trust-files.ts';
import { clientVariables, withoutProxy } from '../clients/variables.ts';
import { credentialVariables } from '../config/catalog.ts';
import type { Config } from '../config/config.ts';
import { environmentReferences } from '../config/load.ts';
import { tokenlessCallers } from '../config/proxy.ts';
import type { Grant } from '../domain/grant.ts';
import { indexGrants } from '../domain/grant-index.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { anyone, leaseHolder, mintFor, placeholderCodes } from '../proxy/placeholders/codes.ts';
import { proxyUrl, reachable } from './format.ts';
import { offeredBy, offeredFirst } from './lookup.ts';
import { makeLease } from './make-lease.ts';
import { duration, name, text } from './members.ts';
import { reading } from './operation.ts';
import { anonymousReach, noLease, usualOf } from './reach.ts';

/** Variables that make programs use a running proxy. */

export const getEnvironment = reading({
  id: 'environment.get',
  summary: 'Return the variables that make programs use the proxy; with `agent` for a new lease.',
  scope: 'access:write',
  input: z.strictObject({
    proxy: text.optional().describe('Address of the proxy, where it is not the one in the config.'),
    agent: name.optional(),
    grants: z.array(text).min(1).optional(),
    ttl: duration.optional(),
    keep: z.array(z.string()).optional().describe('Variables that stay as they are.'),
    base_urls: z.boolean().optional().describe('For programs without proxy support.'),
  }),
  machineOnly: ['keep', 'base_urls'],
  output: z.strictObject({
    set: z.record(z.string(), z.string()),
    remove: z.array(z.string()),
    lease: z.string().nullable(),
    notes: z.array(z.string()),
  }),
  check({ agent, grants: named, ttl }) {
    const idle = named !== undefined ? 'grant' : ttl !== undefined ? 'ttl' : null;
    if (agent !== undefined || idle === null) return;
    throw inputInvalid(`--${idle} needs --agent.`, remedy('environment.get', { agent: null, grants: null }));
  },
  async run({ config, env: parent, ...parts }, input, at) {
    const { agent, keep = [] } = input;
    const authority = await openCa({ config, ...parts }, parts.now);
    const vault = await parts.vault();
    const place = proxyPlace(config.proxy.listen, input.proxy);
    if (agent === undefined && tokenlessCallers(config.proxy) === null) {
      const isRequired = config.proxy.authentication === 'required';
      const why = isRequired
        ? 'proxy.authentication'
        : 'this system does not report the user of a connection';
      throw inputInvalid(
        `The proxy requires a token (${why}).`,
        remedy('environment.get', { agent: null, grants: null }),
      );
    }
    // Before the lease, to reject unsuitable values first.
    const folder = trustFolder(config.ca.directory, parent);
    const { certificatePem: authorityPem } = authority;
    const trust = await writeTrustFiles(folder, { authorityPem, parent, domains: config.domains });
    const terms = { purpose: 'sidekey env', ttlMs: input.ttl ?? null, idleMs: null, maxUses: null };
    const made =
      agent === undefined
        ? null
        : await parts.withState((state) =>
            makeLease(state, { agent, grants: input.grants ?? null, ...terms }, at),
          );
    const holder = made === null ? anyone : leaseHolder(made.lease.id);
    const url = proxyUrl(place, made === null ? undefined : `${made.lease.agent}:${made.secret}`);
    const { store } = parts;
    const reach = made?.reach ?? (store && (await anonymousReach(store)));
    const usual = store && reach && (await usualOf(store, config.domains, made?.lease ?? noLease, reach));
    const reached = offeredFirst(config.domains, usual ?? []);
    const index = indexGrants(reached);
    const offered = new Set(config.domains.flatMap((domain) => offeredBy(domain, index)));
    const { variables, credentials, notes } = programVariables({
      parent,
      config,
      proxy: { url, ...place },
      trust,
      grants: reached.filter((grant) => offered.has(grant)),
      // Without a vault there are no grants.
      mint: vault === null ? undefined : mintFor(holder, reached, placeholderCodes(vault)),
      keep,
    });
    const keys = credentials.set;
    const set =
      input.base_urls === true
        ? baseUrlVariables(proxyUrl(place), { config, grants: offered, keys }, made?.secret)
        : { ...keys, ...variables };
    if (credentials.note !== null) notes.push(credentials.note);
    return { set, remove: credentials.remove, notes, made, folder };
  },
  answer: ({ set, remove, notes, made }) => ({
    set,
    remove: [...remove],
    lease: made?.lease.id ?? null,
    notes,
  }),
});

interface ProgramFacts extends Pick<WithheldFacts, 'parent' | 'mint' | 'keep'> {
  readonly config: Config;
  readonly proxy: ProxyPlace & { readonly url: string };
  readonly trust: Awaited<ReturnType<typeof writeTrustFiles>>;
  /** Grants that the program reaches: the first of a provider gets its variables. Null: not known. */
  readonly grants: readonly Grant[] | null;
}

/** Returns the variables of a program that uses the proxy, and its credentials, which are removed. */
export function programVariables({ parent, config, proxy, trust, grants, ...facts }: ProgramFacts) {
  const { domains, providers, upstream } = config;
  return {
    variables: clientVariables({
      parent,
      proxy,
      trust,
      noProxy: withoutProxy(domains, proxy),
      keep: [...(facts.keep ?? []), ...variablesOfOnly(config.clientsOff)],
    }),
    credentials: withheld({
      parent,
      providers: credentialVariables(providers),
      reachable: grants === null ? null : grantNames(grants),
      references: environmentReferences(config),
      proxyUrl: proxy.url,
      ...facts,
    }),
    notes: [...trust.notes, ...parentNotes({ parent, proxy, domains, chained: upstream.proxy !== null })],
  };
}

/**
 * Returns the variables of programs without proxy support: base addresses of the APIs that they reach, and
 * keys. Each key is the token of the lease, because such programs send nothing else.
 *
 * @throws SidekeyError `input_invalid`: no API of these grants has such a variable
 */
function baseUrlVariables(
  proxy: string,
  facts: {
    readonly config: Pick<Config, 'providers'>;
    readonly grants: ReadonlySet<Grant>;
    readonly keys: Readonly<Record<string, string>>;
  },
  token: string | undefined,
): Readonly<Record<string, string>> {
  const names = new Set(Array.from(facts.grants, ({ provider }) => provider));
  const used = [...names]
    .flatMap((name) => facts.config.providers.get(name) ?? [])
    .filter(({ baseUrls }) => Object.keys(baseUrls).length > 0);
  if (used.length === 0)
    throw new SidekeyError('input_invalid', 'No grant is for an API whose base address is in a variable.', {
      hint: `give the program the base address ${proxy}/+/HOST/PATH, or set base_urls of the provider`,
    });
  const addresses = used.flatMap(({ baseUrls }) =>
    Object.entries(baseUrls).map(([name, url]) => [name, `${proxy}/+/${url.slice('https://'.length)}`]),
  );
  const keyNames = used.flatMap(({ environment }) => environment.map(({ name }) => name));
  const keyVariables = Object.entries(facts.keys).filter(([name]) => keyNames.includes(name));
  return Object.fromEntries([...keyVariables.map(([name, key]) => [name, token ?? key]), ...addresses]);
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
      hint: hintOf`${remedy('environment.get', { proxy: 'http://127.0.0.1:PORT' })}, with the port that it named then`,
    });
  }
  const url = URL.parse(option.includes('://') ? option : `http://${option}`);
  if (url?.protocol !== 'http:' || url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    throw inputInvalid('--proxy is not the URL of a proxy.', '--proxy http://127.0.0.1:8377');
  }
  if (url.username !== '' || url.password !== '') {
    // All users of the machine can read arguments.
    throw new SidekeyError('input_invalid', 'The URL of --proxy has user information in it.', {
      hint: 'leave it out, and have a lease made: --agent NAME --grant GRANT',
    });
  }
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port === '' ? 80 : Number(url.port) };
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
