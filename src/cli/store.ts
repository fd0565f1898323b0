import { copyBetween } from '../app/store-copy.ts';
import { referenceOption, type SecretReference } from '../config/secret-reference.ts';
import type { StoreConfig } from '../config/store-place.ts';
import { inputInvalid } from '../lib/errors.ts';
import { parsePostgresUrl } from '../lib/postgres.ts';
import type { Context } from './context.ts';
import { counted } from '../operations/format.ts';

/** `sidekey store copy FROM TO`. */
export async function copy(
  context: Context,
  fromText: string,
  toText: string,
  { password }: { readonly password?: string },
): Promise<void> {
  const { output, withState } = context;
  const config = await context.readConfig();
  const reference = password === undefined ? null : referenceOption('--password', password);
  const place = (text: string) => (text === 'config' ? config.store : readPlace(text, reference));
  const places = { from: place(fromText), to: place(toText) };
  const copied = await output.during('Copying the store', () => copyBetween(config, places, context));
  const reason = `${copied.from} to ${copied.to}`;
  await withState(({ audit }) => audit.append({ event: 'store.copied', reason }));
  output.result(
    copied,
    [
      `Copied and compared ${counted(copied.rows, 'row')}: ${reason}.`,
      `To use the copy, set "store" in the config file, and start Sidekey again.`,
    ].join('\n'),
  );
}

function readPlace(text: string, password: SecretReference | null): StoreConfig {
  if (text.startsWith('sqlite:')) return { kind: 'sqlite', path: text.slice('sqlite:'.length) };
  const address = parsePostgresUrl(text);
  if (!('problem' in address)) return { kind: 'postgres', address, password, connections: undefined };
  const sentence = text.startsWith('postgres')
    ? `A store ${address.problem}.`
    : 'A store is sqlite:PATH, postgres://USER@HOST/DATABASE or config.';
  throw inputInvalid(
    sentence,
    'sidekey store copy config postgres://sidekey@db.example.com/sidekey --password env:NAME',
  );
}
