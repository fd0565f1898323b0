import { resolve } from 'node:path';
import { recordChange } from '../../audit/log.ts';
import type { Config } from '../../config/config.ts';
import { type ProviderEdit, setProvider, writeConfigAtomically } from '../../config/edit.ts';
import { parseConfig, readConfigText } from '../../config/load.ts';
import { displayName, formatPath } from '../../config/problem.ts';
import { isReference, parseSecretReference } from '../../config/secret-reference.ts';
import type { Provider } from '../../domain/provider.ts';
import { registrationSteps } from '../../grants/consent.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import { hintText } from '../../lib/hint.ts';
import { orMeant, shellWord } from '../../lib/text.ts';
import { findProvider } from '../lookup.ts';
import type { Opened } from '../operation.ts';
import { connectRemedy } from '../provider.ts';
import type { ConnectOptions, Notes } from './request.ts';

/** Checks that all settings have values, before anything is sent. @throws SidekeyError `input_invalid` */
export function assertSettings({ name, title, settings }: Provider): void {
  const open = settings.filter(({ value }) => value === null);
  if (open.length === 0) return;
  const what = open.map((setting) => `${setting.name} (${setting.description})`).join(', ');
  const set = open.map((setting) => `--set ${setting.name}=${shellWord(setting.example)}`).join(' ');
  throw inputInvalid(
    `${title} needs to know: ${what}.`,
    `with your own value instead of the example: sidekey connect ${name} ${set}`,
  );
}

/**
 * Checks that a consent in a browser is possible.
 *
 * @param redirectUri the redirect URI to register
 * @param asks true if the client secret can be typed
 * @throws SidekeyError `input_invalid`, `config_invalid`; errors of the client secret
 */
export async function assertClient(provider: Provider, redirectUri: string, asks: boolean): Promise<void> {
  const { name, title, flows } = provider;
  if (provider.authorizationEndpoint === null) {
    const [first, ...more] = otherWays(provider);
    throw inputInvalid(
      `${title} gives no consent in a browser.`,
      [first ?? `set providers.${name}.authorization_endpoint, where it has one`, ...more].join('\n  → '),
    );
  }
  if (provider.tokenEndpoint === null) {
    throw new SidekeyError('config_invalid', `Nothing says where the provider ${name} issues tokens.`, {
      hint: `set providers.${name}.token_endpoint`,
    });
  }
  // Read before the consent, because the code expires soon.
  if (provider.clientId !== null) return void (await provider.clientSecret?.());
  const variable = name
    .toUpperCase()
    .replace(/[^A-Z0-9]+/g, '_')
    .replace(/^(?=[0-9])/, '_');
  const secret =
    provider.clientAuth === 'none' || asks ? '' : ` --client-secret env:${variable}_CLIENT_SECRET`;
  const paste = redirectUri.startsWith('https:') ? ' --paste' : '';
  throw inputInvalid(
    `You need an OAuth client of your own at ${title}: providers.${name} has no client_id.`,
    [
      // A key works at once.
      ...(provider.token === null ? [] : [hintText(connectRemedy(name, 'token'))]),
      registrationSteps(provider, redirectUri).join('\n    '),
      `sidekey connect ${name} --client-id ID${secret} --redirect-uri ${shellWord(redirectUri)}${paste}`,
      // A device code needs a client too.
      ...otherWays({ name, token: null, flows: flows.filter((flow) => flow !== 'device_code') }),
    ].join('\n  → '),
  );
}

/** Returns the commands for flows without a browser. */
function otherWays({ name, flows, token }: Pick<Provider, 'name' | 'flows' | 'token'>): readonly string[] {
  const others = flows.filter((flow) => flow !== 'authorization_code' && flow !== 'auth0_connection');
  const ways = token === null ? others : (['token', ...others] as const);
  return ways.map((way) => hintText(connectRemedy(name, way)));
}

/** The config file, and the state that is opened for its audit log. */
export interface ConfigParts {
  readonly config: () => Promise<Config>;
  readonly env: NodeJS.ProcessEnv;
  readonly withState: (use: (state: Opened) => Promise<void>) => Promise<void>;
  readonly output: Notes;
  /** True: a person at the machine makes the change, and may set all keys (decision 120). */
  readonly isLocal?: boolean;
}

/** A change of a provider in the text of the config file. */
interface ProviderChange {
  readonly file: string;
  readonly previous: string;
  readonly text: string;
  /** True: a client secret that cannot be read changes nothing. */
  readonly readsSecret: boolean;
  readonly reason: string;
  readonly host?: string;
}

/**
 * Runs a check of a text that is not written yet. An error about the new provider names the option or the key
 * instead of a line that no file has.
 *
 * @throws SidekeyError of `check`, as `input_invalid` if the text is invalid
 */
async function checkUnwritten<T>(name: string, check: () => Promise<T>): Promise<T> {
  try {
    return await check();
  } catch (error) {
    const place = `: ${formatPath(['providers', name])}.`;
    if (!(error instanceof SidekeyError) || !error.message.includes(place)) throw error;
    const lines = error.message.split('\n').map((line) => line.split(place).at(1) ?? line);
    const message = lines
      .map((line) => line.replace(/^settings\.([\w-]+):/, '--set $1'))
      .map((line) => line.replace(/^client_(secret|id):/, '--client-$1:'));
    const isInvalid = error.code === 'config_invalid';
    throw new SidekeyError(isInvalid ? 'input_invalid' : error.code, message.join('\n'), {
      hint: isInvalid ? 'correct it and repeat the command; nothing was written' : error.hint,
      cause: error,
    });
  }
}

/**
 * Writes a changed provider to the config file, after the audit log, and returns it.
 *
 * @throws SidekeyError `input_invalid`, `config_invalid`, `file_unwritable`, `audit_unavailable`; errors of
 * the client secret
 */
export async function writeProvider(
  { env, withState, isLocal }: ConfigParts,
  name: string,
  { file, previous, text, readsSecret, ...facts }: ProviderChange,
): Promise<Provider> {
  const provider = await checkUnwritten(name, async () => {
    const changed = findProvider((await parseConfig(text, file, { env })).providers, name);
    if (readsSecret) await changed.clientSecret?.();
    return changed;
  });
  const event = { event: 'provider.changed', provider: name, ...facts } as const;
  const write = () => writeConfigAtomically(file, text, { env, previous, isLocal });
  if (text !== previous) await withState(({ audit }) => recordChange(audit, event, write));
  return provider;
}

type ProviderOptions = Pick<
  ConnectOptions,
  'set' | 'clientId' | 'clientMetadataUrl' | 'clientSecret' | 'redirectUri'
>;

/**
 * Writes the provider's options to the config file, and returns the provider.
 *
 * @throws SidekeyError `provider_unknown`, `input_invalid`; errors of `writeProvider`
 */
export async function configuredProvider(
  parts: ConfigParts,
  name: string,
  options: ProviderOptions,
): Promise<Provider> {
  const { clientMetadataUrl, clientId = clientMetadataUrl, clientSecret, set = [] } = options;
  const { file, providers } = await parts.config();
  const provider = findProvider(providers, name);
  if (clientId === undefined && clientSecret === undefined && set.length === 0) return provider;
  const previous = await readConfigText(file);
  const { text, changed } = setProvider(previous, name, editFrom(options, provider));
  const reason = changed.join(', ');
  const readsSecret = clientSecret !== undefined;
  const edited = await writeProvider(parts, name, { file, previous, text, readsSecret, reason });
  if (changed.length > 0) parts.output.say(`Saved ${reason} of providers.${name} in ${displayName(file)}.`);
  return edited;
}

function editFrom(
  { clientMetadataUrl, clientId = clientMetadataUrl, clientSecret, redirectUri, set = [] }: ProviderOptions,
  provider: Provider,
): ProviderEdit {
  if (clientId !== undefined && !/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(clientId)) {
    throw inputInvalid(
      '--client-id is not one line of plain text.',
      'copy it from the page where the client is registered',
    );
  }
  return {
    clientId,
    clientSecret: clientSecret === undefined ? undefined : keptReference('--client-secret', clientSecret),
    // `none` is for definitions without a secret. With one, the client authenticates as in RFC 6749 §2.3.1.
    clientAuth:
      clientSecret !== undefined && provider.clientAuth === 'none'
        ? 'basic'
        : clientMetadataUrl !== undefined && provider.clientAuth !== 'none'
          ? 'none'
          : undefined,
    // Redirect URI of the client named with it.
    redirectUri: clientId === undefined ? undefined : redirectUri,
    settings: Object.fromEntries(set.map((text) => setting(text, provider))),
  };
}

function setting(text: string, { name, title, settings }: Provider): readonly [name: string, value: string] {
  const [, key, value = ''] = /^([A-Za-z0-9_-]+)=(.+)$/s.exec(text) ?? [];
  if (key === undefined) {
    throw new SidekeyError('input_invalid', '--set takes NAME=VALUE.', {
      hint: settings.map((known) => `--set ${known.name}=${shellWord(known.example)}`).join(' ') || undefined,
    });
  }
  const names = settings.map((known) => known.name);
  if (names.includes(key)) return [key, value];
  if (names.length === 0) throw inputInvalid(`${title} has nothing to set.`, 'leave --set out');
  throw inputInvalid(
    `${title} has no setting ${key}${orMeant(key, names, '')}`,
    `sidekey provider show ${name} says which there are`,
  );
}

/**
 * Returns a secret reference (`env:`, `file:`, `command:`) in its stored form, with an absolute path. Errors
 * do not contain the text, which may be the secret itself.
 *
 * @throws SidekeyError `input_invalid`
 */
export function keptReference(option: string, text: string): string {
  const reference = parseSecretReference(text);
  if (isReference(reference)) return reference.kind === 'file' ? `file:${resolve(reference.path)}` : text;
  throw inputInvalid(
    `${option} ${reference.problem}.`,
    `put the secret into a file that only you can read: ${option} file:PATH`,
  );
}
