import { z } from 'zod';
import { text } from '../lib/text.ts';
import { splitCommandLine } from './locate.ts';
import { name, pathText, receiver, secretReference, variable } from './scalar.ts';

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
      z.strictObject({
        source: z.literal('command'),
        command: commandLine,
      }),
      z.strictObject({
        source: z.literal('passphrase'),
        passphrase: secretReference('The passphrase. Default: a prompt on the terminal.').optional(),
        path: wrappedPath('sealed by the passphrase'),
      }),
      z.strictObject({
        source: z.literal('keyring'),
        account: z
          .string()
          .regex(/^[\w./ @-]{1,200}$/, { error: 'must be 1 to 200 letters, digits, spaces and . / _ - @' })
          .optional()
          .meta({
            description: 'Name of the entry in the keyring. Default: the path or address of the store.',
          }),
      }),
      z
        .strictObject({
          source: z.literal('transit'),
          address: receiver('Address of HashiCorp Vault or OpenBao, such as https://vault.example.com:8200.'),
          name: name('The key of the transit engine.'),
          mount: z
            .string()
            .regex(/^[\w-]+(?:\/[\w-]+)*$/, { error: 'must be the path of a mount, such as transit' })
            .prefault('transit')
            .meta({ description: 'The path of the transit engine.' }),
          namespace: z.string().min(1).max(200).optional().meta({ description: 'The namespace.' }),
          token: secretReference('The token.').optional(),
          approle: z
            .strictObject({
              role_id: z.string().min(1).max(200).meta({ description: 'The id of the role.' }),
              secret_id: secretReference('The secret id of the role.'),
            })
            .optional()
            .meta({ description: 'Login with AppRole, instead of a token.' }),
          kubernetes: z
            .strictObject({
              role: z.string().min(1).max(200).meta({ description: 'The role.' }),
              jwt: secretReference('The token of the service account.').prefault(
                'file:/var/run/secrets/kubernetes.io/serviceaccount/token',
              ),
            })
            .optional()
            .meta({ description: 'Login with a service account of Kubernetes, instead of a token.' }),
          ca: pathText('PEM file with the trust anchors of the service. Default: upstream.ca.').optional(),
          path: wrappedPath('wrapped by the transit key'),
        })
        .refine(
          ({ token, approle, kubernetes }) =>
            [token, approle, kubernetes].filter((each) => each !== undefined).length === 1,
          { error: 'must have one of token, approle and kubernetes' },
        ),
    ],
    {
      error: (issue) =>
        issue.code === 'invalid_union'
          ? 'must be file, env, command, passphrase, keyring, transit or node'
          : undefined,
    },
  )
  .meta({ description: 'Where the master key comes from, which seals what is in the store.' });

/** Source of the master key; paths are absolute. */
export type KeySourceConfig = z.output<typeof keySchema>;

/** Makes the paths of validated values absolute. */
export function toKeyConfig(key: KeySourceConfig, absolute: (path: string) => string): KeySourceConfig {
  const trusted = 'ca' in key && key.ca !== undefined ? { ca: absolute(key.ca) } : {};
  return 'path' in key ? { ...key, ...trusted, path: absolute(key.path) } : key;
}
