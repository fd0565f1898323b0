import { z } from 'zod';
import { text } from '../lib/text.ts';
import { splitCommandLine } from './locate.ts';
import { name, pathText, receiver, secretReference, variable } from './scalar.ts';
import type { SecretReference } from './secret-reference.ts';

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

/** The way to log in at a transit service. */
type TransitLogin =
  | { readonly method: 'token'; readonly token: SecretReference }
  | { readonly method: 'approle'; readonly role: string; readonly secret: SecretReference }
  | { readonly method: 'kubernetes'; readonly role: string; readonly jwt: SecretReference };

/** Source of the master key; paths are absolute. */
export type KeySourceConfig =
  | { readonly source: 'file' | 'node'; readonly path: string }
  | { readonly source: 'env'; readonly name: string }
  | { readonly source: 'command'; readonly command: readonly string[] }
  /** `passphrase` is null for a prompt. */
  | { readonly source: 'passphrase'; readonly passphrase: SecretReference | null; readonly path: string }
  /** `account` is null for the name of the store. */
  | { readonly source: 'keyring'; readonly account: string | null }
  | {
      readonly source: 'transit';
      readonly address: string;
      readonly name: string;
      readonly mount: string;
      readonly namespace: string | null;
      readonly login: TransitLogin;
      readonly ca: readonly string[] | null;
      readonly path: string;
    };

/** Converts validated values. */
export function toKeyConfig(
  key: z.output<typeof keySchema>,
  absolute: (path: string) => string,
): KeySourceConfig {
  switch (key.source) {
    case 'file':
    case 'node':
      return { ...key, path: absolute(key.path) };
    case 'env':
    case 'command':
      return key;
    case 'passphrase':
      return { ...key, passphrase: key.passphrase ?? null, path: absolute(key.path) };
    case 'keyring':
      return { ...key, account: key.account ?? null };
    case 'transit': {
      const { source, address, name: keyName, mount, namespace = null, token, approle, kubernetes, ca } = key;
      const login: TransitLogin =
        token !== undefined
          ? { method: 'token', token }
          : approle !== undefined
            ? { method: 'approle', role: approle.role_id, secret: approle.secret_id }
            : // The schema requires one of the three.
              { method: 'kubernetes', ...kubernetes! };
      const anchors = ca === undefined ? null : [absolute(ca)];
      return {
        source,
        address,
        name: keyName,
        mount,
        namespace,
        login,
        ca: anchors,
        path: absolute(key.path),
      };
    }
  }
}
