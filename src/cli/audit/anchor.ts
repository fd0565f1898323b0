import { takeAnchor } from '../../audit/anchor.ts';
import { openVault } from '../../vault/open-vault.ts';
import type { Context } from '../context.ts';

/** `sidekey audit anchor`: one line of JSON, for people and programs alike, for it is to be kept. */
export async function anchor({ readConfig, output, now }: Context): Promise<void> {
  const config = await readConfig();
  const vault = await openVault(config.key, { mayCreate: false, store: config.store.path });
  const { text } = takeAnchor(config.audit.file, vault, now());
  output.bytes(Buffer.from(`${text}\n`));
}
