import { z } from 'zod';
import { optional, text } from '../lib/text.ts';
import { splitCommandLine } from './locate.ts';
import { marks } from './marks.ts';
import { name, pathText, secretReference, variable } from './scalar.ts';
import { hasOneLogin, mountPath, oneLogin, toVaultServer, type VaultServer, vaultServer } from './vaults.ts';

const commandLine = text<readonly string[]>(
  {
    description: 'The command line that prints the key; there is no shell.',
    examples: ['pass show sidekey/master-key'],
  },
  splitCommandLine,
);

const wrappedPath = (what: string) =>
  pathText(`The file of the master key, ${what}. It is made on the first run.`).prefault(
    '../data/master.sealed',
  );

/** The schema of `key`. */
export const keySchema = z
  .discriminatedUnion(
    'source',
    [
      z.strictObject({
        source: z.literal('file'),
        path: pathText('The key file. It is made on the first run.').prefault('../data/master.key'),
      }),
      z.strictObject({
        source: z.literal('node'),
        path: pathText('The key of this node, which "sidekey node join" makes.').prefault('../data/node.key'),
      }),
      z.strictObject({
        source: z.literal('env'),
        name: variable('The environment variable that holds the key.'),
      }),
      z.strictObject({ source: z.literal('command'), command: commandLine }),
      z.strictObject({
        source: z.literal('passphrase'),
        passphrase: secretReference('The passphrase. Default: a prompt on the terminal.').optional(),
        path: wrappedPath('sealed by the passphrase'),
      }),
      z.strictObject({
        source: z.literal('keyring'),
        account: optional(
          z
            .string()
            .regex(/^[\w./ @-]{1,200}$/, { error: 'must be 1 to 200 letters, digits, spaces and . / _ - @' }),
          'Name of the entry in the keyring. Default: the path or address of the store.',
        ),
      }),
      z
        .strictObject({
          source: z.literal('transit'),
          ...vaultServer,
          name: name('The key of the transit engine.'),
          mount: mountPath('The path of the transit engine.', 'transit'),
          path: wrappedPath('wrapped by the transit key'),
        })
        .refine(hasOneLogin, { error: oneLogin }),
    ],
    {
      error: (issue) =>
        issue.code === 'invalid_union'
          ? 'must be file, env, command, passphrase, keyring, transit or node'
          : undefined,
    },
  )
  .meta({ description: 'Where the master key comes from, which seals what is in the store.' })
  .register(marks, { mark: 'machine' });

type Written = z.output<typeof keySchema>;

/** Source of the master key; paths are absolute. */
export type KeySourceConfig =
  | Exclude<Written, { source: 'transit' }>
  | {
      readonly source: 'transit';
      readonly server: VaultServer;
      readonly name: string;
      readonly mount: string;
      readonly path: string;
    };

/** Converts validated values. */
export function toKeyConfig(key: Written, absolute: (path: string) => string): KeySourceConfig {
  if (key.source !== 'transit') return 'path' in key ? { ...key, path: absolute(key.path) } : key;
  const { source, name: keyName, mount, path, ...server } = key;
  return {
    source,
    server: toVaultServer(server, absolute, 'key'),
    name: keyName,
    mount,
    path: absolute(path),
  };
}
