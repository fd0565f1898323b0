import { stat } from 'node:fs/promises';
import { keySourceOf } from '../app/keys.ts';
import { openTables } from '../app/state.ts';
import { referenceOption, type SecretReference } from '../config/secret-reference.ts';
import { type StoreConfig, storeName } from '../config/store-place.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { parsePostgresUrl } from '../lib/postgres.ts';
import { copyStore } from '../store/copy.ts';
import { openVault } from '../store/vault/open.ts';
import type { RingValues } from '../store/vault/ring.ts';
import type { Context } from './context.ts';
import { counted } from '../operations/format.ts';

/** `sidekey store copy FROM TO`. */
export async function copy(
  context: Context,
  fromText: string,
  toText: string,
  { password }: { readonly password?: string },
): Promise<void> {
  const { output, withState, readConfig, env, now } = context;
  const config = await readConfig();
  const { store: configured, file } = config;
  const reference = password === undefined ? null : referenceOption('--password', password);
  const place = (text: string) => (text === 'config' ? configured : readPlace(text, reference));
  const [fromPlace, toPlace] = [place(fromText), place(toText)];
  if (fromPlace.kind === 'sqlite' && (await stat(fromPlace.path).catch(() => null)) === null) {
    throw new SidekeyError('not_found', `There is no store at ${fromPlace.path}.`, {
      hint: 'sidekey config path shows where the store is',
    });
  }
  const open = (at: StoreConfig) => openTables({ file, store: at }, env);
  const keysOf = async (meta: RingValues) => {
    const opened = { mayCreate: false, store: storeName(fromPlace), meta, now, nodeId: null };
    const { vault } = await openVault(keySourceOf(config, { env }), opened);
    return vault.generations.map(({ keyId }) => keyId);
  };
  const from = await open(fromPlace);
  try {
    const to = await open(toPlace);
    try {
      if (from.location === to.location)
        throw inputInvalid('FROM and TO are the same store.', 'name two stores');
      const rows = await output.during('Copying the store', () => copyStore(from, to, keysOf));
      const reason = `${from.location} to ${to.location}`;
      await withState(({ audit }) => audit.append({ event: 'store.copied', reason }));
      output.result(
        { from: from.location, to: to.location, rows },
        [
          `Copied and compared ${counted(rows, 'row')}: ${reason}.`,
          `To use the copy, set "store" in the config file, and start Sidekey again.`,
        ].join('\n'),
      );
    } finally {
      await to.close();
    }
  } finally {
    await from.close();
  }
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
