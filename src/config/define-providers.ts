import { dirname } from 'node:path';
import type { Provider } from '../grants/provider.ts';
import type { Catalog } from './catalog.ts';
import type { ConfigDocument } from './document.ts';
import { formatPath, type Path, type Problem } from './problem.ts';
import type { ProviderDefinition } from './provider-definition.ts';
import { readSecret } from './secret-reference.ts';

/** What providers are made of. */
export interface DefineProvidersOptions {
  readonly catalog: Catalog;
  /** `providers` of the config file. */
  readonly own: Readonly<Record<string, ProviderDefinition>>;
  readonly document: ConfigDocument;
  /** The config file: absolute, and as messages name it. */
  readonly file: string;
  readonly name: string;
  /** Where `env:` references look, when they are read. */
  readonly env: NodeJS.ProcessEnv;
}

/** What says where tokens come from and where they go. */
const routes = [
  'authorization_endpoint',
  'token_endpoint',
  'revocation_endpoint',
  'issuer',
  'audience',
  'inject',
] as const satisfies readonly (keyof ProviderDefinition)[];

/**
 * The built-in providers and the file's own, by name.
 *
 * A definition of a built-in name adds to it (a client, scopes) as long as it leaves alone where tokens come from
 * and go. One that names any of that stands alone: half of it from the catalog would send a company's tokens to
 * the public service of the same name.
 */
export function defineProviders(options: DefineProvidersOptions): {
  readonly providers: ReadonlyMap<string, Provider>;
  readonly problems: readonly Problem[];
} {
  const problems: Problem[] = [];
  const providers = new Map<string, Provider>();
  for (const [name, definition] of options.catalog) providers.set(name, build(name, definition, options));
  for (const [name, own] of Object.entries(options.own)) {
    const path: Path = ['providers', name];
    const builtIn = routes.some((route) => own[route] !== undefined) ? undefined : options.catalog.get(name);
    const definition: ProviderDefinition = { ...builtIn, ...own };
    const problem = (at: Path, message: string): void => {
      problems.push({ ...options.document.position(at, 'key'), path: at, message });
    };
    if (definition.audience === undefined) {
      problem(path, 'has no audience: list the hosts that its credential may be sent to');
    }
    if (definition.client_auth === 'none' && definition.client_secret !== undefined) {
      problem([...path, 'client_auth'], 'is none, but there is a client_secret: write basic or post');
    }
    providers.set(name, build(name, definition, options));
  }
  return { providers, problems };
}

function build(name: string, definition: ProviderDefinition, options: DefineProvidersOptions): Provider {
  return {
    name,
    title: definition.title ?? name,
    authorizationEndpoint: definition.authorization_endpoint ?? null,
    tokenEndpoint: definition.token_endpoint ?? null,
    revocationEndpoint: definition.revocation_endpoint ?? null,
    issuer: definition.issuer ?? null,
    clientId: definition.client_id ?? null,
    clientSecret: secretReader(name, definition, options),
    clientAuth: definition.client_auth ?? (definition.client_secret === undefined ? 'none' : 'basic'),
    scopes: definition.scopes ?? [],
    audience: (definition.audience ?? []).map((pattern) => pattern.text),
    inject: definition.inject ?? { kind: 'bearer' },
  };
}

/** The secret is read when it is asked for, so that it is not held here and a rotated one is found. */
function secretReader(
  provider: string,
  { client_secret: reference }: ProviderDefinition,
  { document, file, name, env }: DefineProvidersOptions,
): Provider['clientSecret'] {
  if (reference === undefined) return null;
  const path: Path = ['providers', provider, 'client_secret'];
  const { line, column } = document.position(path);
  const where = `${name}:${line}:${column}: ${formatPath(path)}`;
  return async () => readSecret(reference, { env, cwd: dirname(file), where });
}
