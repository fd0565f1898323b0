import { audited } from '../../audit/audited.ts';
import { setProvider, type ProviderEdit } from '../../config/edit.ts';
import { parseConfig, readConfigText } from '../../config/load.ts';
import { displayName } from '../../config/problem.ts';
import { writeConfigAtomically } from '../../config/write-config.ts';
import { didYouMean } from '../../did-you-mean.ts';
import { SidekeyError } from '../../errors.ts';
import type { Provider } from '../../grants/provider.ts';
import type { Context } from '../context.ts';
import { findProvider } from '../provider/find.ts';
import type { ConnectOptions } from './flow.ts';
import { keptReference } from './kept-reference.ts';

type ProviderOptions = Pick<ConnectOptions, 'set' | 'clientId' | 'clientSecret' | 'redirectUri'>;

/**
 * The provider, with what the options say of it kept in the config file first.
 *
 * @throws SidekeyError `provider_unknown`, `input_invalid`, `config_invalid`, `file_unwritable`, `audit_unavailable`
 */
export async function configuredProvider(
  context: Context,
  name: string,
  options: ProviderOptions,
): Promise<Provider> {
  const { clientId, clientSecret, set = [] } = options;
  if (clientId === undefined && clientSecret === undefined && set.length === 0) {
    return findProvider((await context.config()).providers, name);
  }
  const { env, output } = context;
  const file = await context.configFile();
  const previous = await readConfigText(file);
  const provider = findProvider((await parseConfig(previous, file, { env })).providers, name);
  const { text, changed } = setProvider(previous, name, editFrom(options, provider));
  const edited = findProvider((await parseConfig(text, file, { env })).providers, name);
  if (changed.length > 0) {
    const event = { event: 'provider.changed', provider: name, reason: changed.join(', ') } as const;
    await context.withState(({ audit }) =>
      audited(audit, event, () => writeConfigAtomically(file, text, { env, previous })),
    );
    output.say(`Kept in ${displayName(file, process.cwd())}: providers.${name} (${changed.join(', ')}).`);
  }
  return edited;
}

function editFrom(
  { clientId, clientSecret, redirectUri, set = [] }: ProviderOptions,
  provider: Provider,
): ProviderEdit {
  if (clientId !== undefined && !/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(clientId)) {
    throw new SidekeyError('input_invalid', '--client-id is not one line of plain text.', {
      hint: 'copy it from the page where the client is registered',
    });
  }
  return {
    clientId,
    clientSecret: clientSecret === undefined ? undefined : keptReference('--client-secret', clientSecret),
    // A definition without a secret says so; with one, the client authenticates as RFC 6749 §2.3.1 wants it.
    clientAuth: clientSecret !== undefined && provider.clientAuth === 'none' ? 'basic' : undefined,
    // That of the client that is named with it.
    redirectUri: clientId === undefined ? undefined : redirectUri,
    settings: Object.fromEntries(set.map((text) => setting(text, provider))),
  };
}

function setting(text: string, { name, title, settings }: Provider): readonly [name: string, value: string] {
  const [, key, value = ''] = /^([A-Za-z0-9_-]+)=(.+)$/s.exec(text) ?? [];
  if (key === undefined) {
    throw new SidekeyError('input_invalid', '--set takes NAME=VALUE.', {
      hint: settings.map((known) => `--set ${known.name}=${known.example}`).join(' ') || undefined,
    });
  }
  const names = settings.map((known) => known.name);
  if (names.includes(key)) return [key, value];
  const near = didYouMean(key, names);
  throw new SidekeyError(
    'input_invalid',
    names.length === 0
      ? `${title} has nothing to set.`
      : `${title} has no setting ${key}${near === null ? '' : `; did you mean ${near}?`}`,
    { hint: names.length === 0 ? 'leave --set out' : `sidekey provider show ${name} says which there are` },
  );
}
