import { basename } from 'node:path';
import { checkProvider, readProviderFile, settle } from '../config/catalog.ts';
import { configInvalid } from '../config/problem.ts';
import { flowWords } from '../config/provider.ts';
import { isName } from '../domain/grant.ts';
import type { InjectPlace, Provider, TokenInjection } from '../domain/provider.ts';
import { counted } from '../operations/format.ts';
import { carriedEverywhereAs, connectCommands, getProvider, listProviders } from '../operations/provider.ts';
import { carriedAs } from '../proxy/schemes/placement.ts';
import type { Context } from './context.ts';
import { columns, type Display, details, table } from './display.ts';
import { perform } from './operation-command.ts';

/** Hosts and paths of a place, for people. */
function placeText({ hosts, paths }: InjectPlace, isFirst: boolean): string {
  if (hosts === null && paths === null) return isFirst ? 'everywhere' : 'elsewhere';
  return [hosts === null ? 'everywhere at' : `at ${hosts.join(' ')}`, ...(paths ?? [])].join(' ');
}

/** Place of a pasted token, whose parts may have several places. */
function pastedAs(carry: TokenInjection, places: Provider['inject']): string {
  switch (carry.kind) {
    case 'inject':
      // A pasted token is not bound to a key.
      return places[0]?.as.kind === 'dpop'
        ? carriedAs({ kind: 'bearer' })
        : (carriedEverywhereAs(places) ?? 'see below');
    case 'basic':
      return 'Authorization: Basic …';
    case 'headers':
      return carry.headers.map(([name]) => `${name}: …`).join(', ');
    case 'aws':
      return carriedEverywhereAs(places) ?? 'see below';
  }
}

/**
 * `sidekey config check --provider FILE`: validates a file of the catalog.
 *
 * @throws SidekeyError `config_missing`, `config_invalid` with every problem and its place
 */
export async function checkProviderFile({ output }: Context, path: string): Promise<void> {
  const entry = settle(readProviderFile(path), {});
  const problems = checkProvider(entry).map((misfit) => ({
    ...entry.document.position(misfit.path, 'key'),
    ...misfit,
  }));
  const name = basename(path).replace(/\.yaml$/, '');
  if (name === basename(path) || !isName(name)) {
    const message = 'the file must be called as the provider is, and end in .yaml';
    problems.push({ line: 1, column: 1, path: [], message });
  }
  if (problems.length > 0) throw configInvalid(path, problems);
  const { title, audience } = entry.definition;
  output.result(
    { file: path, name, valid: true },
    `${path} is valid: ${name}${title === undefined ? '' : ` (${title})`}.`,
  );
  output.say(
    `Its credential may be sent to ${audience.map(({ text }) => text).join(', ')}.\n` +
      '  → put it into the folder "providers" next to the config file; it replaces a built-in provider of that name',
  );
}

/** `sidekey provider list [TEXT]` */
export async function printProviders(context: Context, text?: string): Promise<void> {
  const { result: providers, answer } = await perform(context, listProviders, { fixed: { text } });
  const { output } = context;
  output.result(
    answer,
    `${table(
      output.display,
      ['NAME', 'TITLE', 'CATEGORY', 'CONNECT WITH', 'NEEDS FIRST'],
      providers.map((provider) => [
        provider.name,
        provider.title,
        provider.category,
        [...provider.flows.map((flow) => flowWords[flow]), ...(provider.token === null ? [] : ['key'])].join(
          ', ',
        ) || '-',
        needs(provider),
      ]),
      { least: ['CATEGORY', 'TITLE', 'NEEDS FIRST', 'CONNECT WITH'], floor: 18 },
    )}\n\n${counted(providers.length, 'provider')}; sidekey provider show NAME says how to connect to one.`,
  );
}

/** Settings that a person must supply before connecting. */
function needs({ settings, flows, token, clientId }: Provider): string {
  const open = settings.filter(({ value }) => value === null).map(({ name }) => name);
  const needsClient =
    clientId === null &&
    token === null &&
    flows.some((flow) => flow !== 'github_installation' && flow !== 'jwt_bearer');
  return [...open, ...(needsClient ? ['a client id'] : [])].join(', ') || '-';
}

/** `sidekey provider show` */
export async function printProvider(context: Context, name: string): Promise<void> {
  const { result: provider, answer } = await perform(context, getProvider, { fixed: { provider: name } });
  const { output } = context;
  const { clientId, clientSecret, clientAuth, scopes, token, dialect } = provider;
  const secret = clientSecret === null ? 'without a secret' : `with a secret, sent as ${clientAuth}`;
  const facts = details(output.display, `${name} (${provider.title})`, {
    audience: provider.audience.join(', ') || null,
    'carried as': carriedEverywhereAs(provider.inject) ?? 'depends on the place, see below',
    placeholders: provider.placeholders.join(', ') || null,
    'echoes at': provider.echoPaths.join(', ') || null,
    'consent at': provider.authorizationEndpoint,
    'device code at': provider.deviceAuthorizationEndpoint,
    'tokens from': provider.tokenEndpoint,
    'revoked at': provider.revocationEndpoint ?? dialect.revocation.url,
    'account at': provider.userinfoEndpoint,
    issuer: provider.issuer,
    client: provider.flows.length === 0 ? null : clientId === null ? 'none yet' : `${clientId}, ${secret}`,
    'redirect URI': provider.redirectUri,
    scopes: scopes.length === 0 ? null : scopes.join(' '),
    'pasted as': token === null ? null : pastedAs(token.inject, provider.inject),
    'proved by': provider.probe?.url ?? null,
  });
  output.result(answer, [facts, ...sections(output.display, provider)].join('\n\n'));
}

function sections(display: Display, provider: Provider): string[] {
  const { settings, knownScopes, notes, token, clientRegistration: at } = provider;
  const isByPlace = carriedEverywhereAs(provider.inject) === null;
  return [
    section(
      isByPlace ? 'Carried as' : '',
      provider.inject.flatMap((place, index) => [carriedAs(place.as), `  ${placeText(place, index === 0)}`]),
    ),
    section(
      'Settings',
      columns(
        display,
        settings.map(({ name, description, value, example }) => [
          name,
          value ?? `(none; ${example})`,
          description,
        ]),
      ),
    ),
    section(
      'Scopes to ask for',
      columns(
        display,
        knownScopes.map(({ name, what }) => [name, what]),
      ),
    ),
    section(token === null ? '' : `To get the ${token.label}`, [
      ...(token?.url == null ? [] : [token.url]),
      ...(token?.steps ?? []),
    ]),
    section('To register a client', at === null ? [] : [at.url, ...at.steps]),
    section('To know', notes),
    section('Documentation', provider.docs),
    section('Connect', connectCommands(provider)),
  ].filter((text) => text !== '');
}

function section(title: string, lines: readonly string[]): string {
  return lines.length === 0 || title === ''
    ? ''
    : [`${title}:`, ...lines.map((line) => `  ${line}`)].join('\n');
}
