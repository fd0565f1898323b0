import { z } from 'zod';
import { optional } from '../lib/text.ts';
import { keyOf, name, pathText, receiver, secretReference } from './scalar.ts';
import type { SecretReference } from './secret-reference.ts';

/** HashiCorp Vault and OpenBao servers in the config: `vaults`, and the address of a `transit` `key`. */

/** The path of a secrets engine or a login method. */
export const mountPath = (description: string, initial: string) =>
  z
    .string()
    .regex(/^[\w-]+(?:\/[\w-]+)*$/, { error: `must be the path of a mount, such as ${initial}` })
    .prefault(initial)
    .meta({ description });

const role = z.string().min(1).max(200);

const jwtLogin = (initial: string, jwt: z.ZodType<SecretReference, string | undefined>) =>
  z.strictObject({
    role: role.meta({ description: 'The role.' }),
    jwt,
    mount: mountPath('The path of the login method.', initial),
  });

/** The keys of a server. A refinement with `hasOneLogin` follows. */
export const vaultServer = {
  address: receiver('Address of HashiCorp Vault or OpenBao, such as https://vault.example.com:8200.'),
  namespace: optional(z.string().min(1).max(200), 'The namespace.'),
  ca: pathText('PEM file with the trust anchors of the server. Default: upstream.ca.').optional(),
  token: secretReference('The token. A file is read at each use, such as the sink of an agent.').optional(),
  approle: optional(
    z.strictObject({
      role_id: role.meta({ description: 'The id of the role.' }),
      secret_id: secretReference('The secret id of the role.'),
      mount: mountPath('The path of the login method.', 'approle'),
    }),
    'Login with AppRole, instead of a token.',
  ),
  kubernetes: jwtLogin(
    'kubernetes',
    secretReference('The token of the service account.').prefault(
      'file:/var/run/secrets/kubernetes.io/serviceaccount/token',
    ),
  )
    .optional()
    .meta({ description: 'Login with a service account of Kubernetes, instead of a token.' }),
  jwt: jwtLogin('jwt', secretReference('The JWT. A file is read at each login.'))
    .optional()
    .meta({ description: 'Login with a JWT of an issuer that the server trusts, instead of a token.' }),
};

type ServerValues = z.output<z.ZodObject<typeof vaultServer>>;

/** Reports whether there is one way to log in. */
export const hasOneLogin = ({ token, approle, kubernetes, jwt }: Partial<ServerValues>): boolean =>
  [token, approle, kubernetes, jwt].filter((each) => each !== undefined).length === 1;

/** The sentence where `hasOneLogin` is false. */
export const oneLogin = 'must have one of token, approle, kubernetes and jwt';

/** The schema of `vaults`. */
export const vaultsSchema = z.record(
  keyOf(name('name'), 'A name for the server.'),
  z.strictObject(vaultServer).refine(hasOneLogin, { error: oneLogin }),
);

/** A server of HashiCorp Vault or OpenBao. Paths are absolute. */
export interface VaultServer {
  readonly address: string;
  readonly namespace: string | null;
  /** Null: those of `upstream.ca`. */
  readonly ca: string | null;
  readonly login:
    | { readonly method: 'token'; readonly secret: SecretReference }
    | {
        /** Members of the login request. */
        readonly method: 'approle' | 'kubernetes' | 'jwt';
        readonly mount: string;
        readonly role: string;
        readonly secret: SecretReference;
      };
  /** Key of the secret of the login, for messages: `vaults.main.approle.secret_id`. */
  readonly where: string;
}

/** Converts validated values, which have one login. */
export function toVaultServer(
  { address, namespace, ca, token, approle, kubernetes, jwt }: ServerValues,
  absolute: (path: string) => string,
  key: string,
): VaultServer {
  const anchors = ca === undefined ? null : absolute(ca);
  const server = { address, namespace: namespace ?? null, ca: anchors };
  if (token !== undefined)
    return { ...server, login: { method: 'token', secret: token }, where: `${key}.token` };
  if (approle !== undefined) {
    const { role_id: id, secret_id: secret, mount } = approle;
    return {
      ...server,
      login: { method: 'approle', mount, role: id, secret },
      where: `${key}.approle.secret_id`,
    };
  }
  const method = kubernetes === undefined ? 'jwt' : 'kubernetes';
  const { role: named, jwt: secret, mount } = (kubernetes ?? jwt)!;
  return { ...server, login: { method, mount, role: named, secret }, where: `${key}.${method}.jwt` };
}
