import { z } from 'zod';
import { marks } from './marks.ts';
import { scope } from './provider.ts';
import { issuer, plainText, secretReference } from './scalar.ts';

/** The part `admin.oidc` of the config file: sign-in of people at an OpenID provider. */

const claimName = plainText('The name of a claim, or a path: realm_access.roles.');

const holders = (role: string) =>
  z
    .record(claimName, z.array(plainText('A value of the claim.')).min(1))
    .optional()
    .meta({ description: `Who is ${role}: values by claim. One of them is enough.` });

/** The keys of `admin.oidc`. */
export const oidcSchema = z
  .strictObject({
    issuer: issuer(
      'The issuer, such as https://accounts.google.com. Its metadata names its endpoints.',
    ).register(marks, { mark: 'destination' }),
    client_id: plainText('The client that the issuer has for Sidekey.'),
    client_secret: secretReference('The secret of the client. Default: a public client.').optional(),
    scopes: z
      .array(scope)
      .prefault(['openid', 'profile', 'email'])
      .meta({ description: 'The scopes to ask for, with openid.' }),
    name: claimName.prefault('sub').meta({
      description:
        'The claim that names a new person. Take none that people can set themselves: a user owns the grants of that name.',
    }),
    roles: z
      .strictObject({
        operator: holders('operator'),
        approver: holders('approver'),
        auditor: holders('auditor'),
        user: holders('user'),
      })
      .refine((of) => Object.values(of).some((each) => each !== undefined), {
        error: 'gives nobody a role, so nobody could sign in',
      })
      .meta({ description: 'Who has which role; of several, the first in the order of this list.' }),
  })
  .refine(({ scopes }) => scopes.includes('openid'), { path: ['scopes'], error: 'must contain openid' })
  .meta({ description: 'Sign-in at an OpenID provider. Default: links and passkeys alone.' });

/** Converts validated values to settings. Roles are in order of precedence. */
export function toOidcConfig(values: z.output<typeof oidcSchema>) {
  const { client_id: clientId, client_secret: clientSecret = null, roles, ...rest } = values;
  const order = ['operator', 'approver', 'auditor', 'user'] as const;
  return { ...rest, clientId, clientSecret, roles: order.map((role) => [role, roles[role] ?? {}] as const) };
}

/** Settings of the sign-in at an OpenID provider. */
export type OidcConfig = ReturnType<typeof toOidcConfig>;
