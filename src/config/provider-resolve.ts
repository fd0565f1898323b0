import { dirname, resolve } from 'node:path';
import { placeholderPlaces, type Provider, type Setting } from '../domain/provider.ts';
import { orMeant } from '../lib/text.ts';
import type { Catalog, CatalogEntry } from './catalog.ts';
import type { ConfigDocument } from './document.ts';
import { displayName, formatPath, type Path, type Problem } from './problem.ts';
import { dpopMisfit, dpopPlaces, plainDialect } from './provider-dialect.ts';
import type { ProviderDefinition } from './provider.ts';
import { carriageProblem, createProviders, placeholdersProblem, type Providers } from './providers.ts';
import { readSecret } from './secret-reference.ts';

/** Sources of provider definitions. */
export interface DefineProvidersOptions {
  readonly catalog: Catalog;
  /** `providers` of the config file. */
  readonly own: Readonly<Record<string, ProviderDefinition>>;
  readonly document: ConfigDocument;
  /** The config file: its absolute path, and its name in messages. */
  readonly file: string;
  readonly name: string;
  /** Variables for `env:` references, when they are read. */
  readonly env: NodeJS.ProcessEnv;
}

/** Keys that determine the sources and destinations of tokens. */
const routes = [
  'authorization_endpoint',
  'device_authorization_endpoint',
  'token_endpoint',
  'revocation_endpoint',
  'userinfo_endpoint',
  'issuer',
  'audience',
  'domains',
  'inject',
  'mints',
  'token',
  'probe',
] as const satisfies readonly (keyof ProviderDefinition)[];

/** Returns the first such key of a definition; undefined: none. */
function routeIn({ dialect, ...written }: Written): string | undefined {
  const route = routes.find((key) => written[key] !== undefined);
  const named = dialect?.refreshEndpoint ?? dialect?.revocation.url;
  return route ?? (named == null ? undefined : 'dialect');
}

/** Position of a definition, for messages about its secret. */
interface Place {
  readonly document: ConfigDocument;
  readonly file: string;
  readonly name: string;
  readonly path: Path;
}

/** Default placement. */
const asBearer: Provider['inject'] = [{ hosts: null, paths: null, as: { kind: 'bearer' } }];

type Written = Omit<ProviderDefinition, 'settings' | 'extends'>;

/**
 * Returns the built-in providers and those of the file, by name. Providers of the catalog are resolved at
 * first use; those of the file at once, to report errors early.
 *
 * A definition with a built-in name extends the built-in one (a client, scopes) unless it sets sources or
 * destinations of tokens. Then it replaces it: mixing both could send a company's tokens to the public
 * service of the same name.
 */
export function defineProviders(options: DefineProvidersOptions): {
  readonly providers: Providers;
  readonly problems: readonly Problem[];
} {
  const { catalog, document, file, name: fileName, env } = options;
  const problems: Problem[] = [];
  const configured = new Map<string, Provider>();
  for (const [name, { settings: values, extends: base, ...written }] of Object.entries(options.own)) {
    const path: Path = ['providers', name];
    const problem = (at: Path, message: string): void => {
      problems.push({ ...document.position(at, 'key'), path: at, message });
    };
    const route = routeIn(written);
    if (route !== undefined && base !== undefined) {
      problem(
        [...path, 'extends'],
        `cannot be used with ${route}: a copy keeps its endpoints and its audience`,
      );
    }
    if (base !== undefined && !catalog.names.includes(base))
      problem([...path, 'extends'], `is not a provider of the catalog${orMeant(base, catalog.names, '')}`);
    const builtIn = route === undefined ? catalog.get(base ?? name, values) : undefined;
    for (const wrong of builtIn?.problems ?? []) problem([...path, 'settings', ...wrong.path], wrong.message);
    if (builtIn === undefined && values !== undefined)
      problem([...path, 'settings'], 'belongs to a provider of the catalog; write the values themselves');
    const definition: Written = { ...builtIn?.definition, ...written };
    if (definition.audience === undefined)
      problem(path, 'has no audience: list the hosts that its credential may be sent to');
    if (definition.client_auth === 'none' && definition.client_secret !== undefined)
      problem([...path, 'client_auth'], 'is none, but there is a client_secret: write basic or post');
    const carriage = carriageProblem(definition);
    if (carriage !== null) problem([...path, 'inject'], carriage);
    const placing = placeholdersProblem(definition);
    if (placing !== null) problem([...path, 'placeholders'], placing);
    const misfit = dpopMisfit(definition);
    if (misfit !== null) problem([...path, 'dpop'], misfit);
    const place =
      written.client_secret === undefined && builtIn !== undefined
        ? placeOf(builtIn)
        : { document, file, name: fileName, path };
    configured.set(name, build(name, definition, builtIn?.settings ?? [], { place, env }));
  }
  const providers = createProviders(configured, {
    names: catalog.names,
    own: catalog.own,
    make: (name) => {
      const entry = catalog.get(name);
      return entry && build(name, entry.definition, entry.settings, { place: placeOf(entry), env });
    },
    environment: (name) =>
      catalog.own.includes(name)
        ? environmentOf(catalog.get(name)?.definition ?? {})
        : variablesOf(catalog.environment(name)),
    forms: () => catalog.forms(),
  });
  return { providers, problems };
}

function placeOf({ file, document }: CatalogEntry): Place {
  return { document, file, name: displayName(file), path: [] };
}

function build(
  name: string,
  definition: Written,
  settings: readonly Setting[],
  secrets: { readonly place: Place; readonly env: NodeJS.ProcessEnv },
): Provider {
  // A setting without a value contains an example, to which nothing may be sent.
  const isOpen = settings.some(({ value }) => value === null);
  const unlessOpen = <T>(value: T | undefined): T | null => (isOpen || value === undefined ? null : value);
  const audience = (unlessOpen(definition.audience) ?? []).map((pattern) => pattern.text);
  const probe = unlessOpen(definition.probe);
  const dialect = definition.dialect ?? plainDialect;
  return {
    name,
    title: definition.title ?? name,
    category: definition.category ?? 'generic',
    docs: definition.docs ?? [],
    authorizationEndpoint: unlessOpen(definition.authorization_endpoint),
    deviceAuthorizationEndpoint: unlessOpen(definition.device_authorization_endpoint),
    tokenEndpoint: unlessOpen(definition.token_endpoint),
    revocationEndpoint: unlessOpen(definition.revocation_endpoint),
    userinfoEndpoint: unlessOpen(definition.userinfo_endpoint),
    issuer: unlessOpen(definition.issuer),
    namesIssuer: definition.authorization_response_iss_parameter_supported ?? false,
    clientId: definition.client_id ?? null,
    clientSecret: secretReader(definition, secrets),
    clientSecretFile: secretFile(definition, secrets.place),
    clientAuth: definition.client_auth ?? (definition.client_secret === undefined ? 'none' : 'basic'),
    redirectUri: definition.redirect_uri ?? null,
    redirectUriType: definition.redirect_uri_type ?? 'loopback',
    dpop: definition.dpop ?? null,
    flows: definition.flows ?? flowsOf(definition),
    scopes: definition.scopes ?? [],
    knownScopes: Object.entries(definition.known_scopes ?? {}).map(([scope, what]) => ({
      name: scope,
      what,
    })),
    audience,
    domains: unlessOpen(definition.domains)?.map((pattern) => pattern.text) ?? audience,
    inject: dpopPlaces(definition.inject ?? asBearer, definition.dpop ?? null),
    placeholders: definition.placeholders ?? everywhere(definition.inject ?? asBearer),
    unexpectedPlaceholders: definition.unexpected_placeholders ?? 'refuse',
    methodOverrideParameters: definition.method_override_parameters ?? [],
    echoPaths: definition.echo_paths ?? [],
    token: definition.token ?? null,
    dialect: {
      ...dialect,
      tokenHeaders: withUserAgent(dialect.tokenHeaders, definition.user_agent),
    },
    userAgent: definition.user_agent ?? null,
    expired: definition.expired ?? [],
    idJag: idJagOf(definition),
    clientRegistration: definition.client_registration ?? null,
    probe:
      probe === null
        ? null
        : {
            url: probe.url,
            headers: withUserAgent(probe.headers ?? {}, definition.user_agent),
            json: probe.json ?? null,
            okField: probe.ok_field ?? null,
            accountFields: probe.account_fields ?? [],
          },
    notes: definition.notes ?? [],
    logins: definition.logins ?? [],
    capturesLogins: definition.capture_logins ?? false,
    environment: environmentOf(definition),
    baseUrls: definition.base_urls ?? {},
    mints: unlessOpen(definition.mints) ?? [],
    operations: definition.operations ?? [],
    lease: { defaultMs: definition.lease?.default_ttl ?? null, maxMs: definition.lease?.max_ttl ?? null },
    settings,
  };
}

/** Adds a `User-Agent`, unless there is one. */
function withUserAgent(
  headers: Readonly<Record<string, string>>,
  userAgent: string | undefined,
): Readonly<Record<string, string>> {
  const has = Object.keys(headers).some((name) => name.toLowerCase() === 'user-agent');
  return userAgent === undefined || has ? headers : { ...headers, 'User-Agent': userAgent };
}

function idJagOf({ id_jag: written }: Written): Provider['idJag'] {
  if (written === undefined) return null;
  const { audience, resource = null, pairwise_subjects: isPairwise } = written;
  return { audience, resource, isPairwise };
}

/** A credential without another placement replaces its placeholder anywhere. */
function everywhere(inject: Provider['inject']): Provider['placeholders'] {
  return inject.some(({ as }) => as.kind === 'placeholder') ? placeholderPlaces : [];
}

/** The client secret is also withheld from programs. */
function environmentOf({ environment = {}, client_secret: reference }: Written): Provider['environment'] {
  const others = variablesOf(environment);
  if (reference?.kind !== 'env' || environment[reference.name] !== undefined) return others;
  return [{ name: reference.name, placeholder: null, isClientSecret: true }, ...others];
}

function variablesOf(environment: Written['environment'] = {}): Provider['environment'] {
  return Object.entries(environment).map(([name, placeholder]) => ({ name, placeholder }));
}

/** Returns the flows that the endpoints support, if a definition names none. */
function flowsOf(definition: Written): Provider['flows'] {
  if (definition.token_endpoint === undefined) return [];
  return [
    ...(definition.id_jag === undefined ? [] : (['id_jag'] as const)),
    ...(definition.authorization_endpoint === undefined ? [] : (['authorization_code'] as const)),
    ...(definition.device_authorization_endpoint === undefined ? [] : (['device_code'] as const)),
    // Where programs log in, Sidekey has no client of its own.
    ...(definition.authorization_endpoint === undefined &&
    definition.logins === undefined &&
    definition.id_jag === undefined
      ? (['client_credentials'] as const)
      : []),
  ];
}

function secretFile({ client_secret: reference }: Written, { file }: Place): string | null {
  return reference?.kind === 'file' ? resolve(dirname(file), reference.path) : null;
}

/** Reads the secret at each use, so that it is not kept in memory and a rotated one is found. */
function secretReader(
  { client_secret: reference }: Written,
  { place, env }: { readonly place: Place; readonly env: NodeJS.ProcessEnv },
): Provider['clientSecret'] {
  if (reference === undefined) return null;
  const path: Path = [...place.path, 'client_secret'];
  const { line, column } = place.document.position(path);
  const where = `${place.name}:${line}:${column}: ${formatPath(path)}`;
  return async (isTrial) =>
    readSecret(reference, { env, cwd: dirname(place.file), where: isTrial ? undefined : where, isTrial });
}
