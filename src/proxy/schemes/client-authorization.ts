import { type AuthScheme, scheme } from './scheme.ts';

/** Schemes that forward the client's own `Authorization`. */

/** Writes the credential only where the client put its placeholder (`proxy/placeholders/substitute.ts`). */
export const placeholder: AuthScheme<{ readonly kind: 'placeholder' }, 'placeholder'> = {
  ...scheme(
    'placeholder',
    'Where the client put the placeholder that it was given, and nowhere else; `placeholders` says where it may.',
    'where the client puts its placeholder',
  ),
  prepare: () => ({ fields: [], keepsAuthorization: true }),
};

/** No credential of a grant: the client uses a token that the service itself issued, as registries do. */
export const own: AuthScheme<{ readonly kind: 'own' }, 'own'> = {
  ...scheme(
    'own',
    'No credential; the Authorization of the client goes on: for tokens that the service itself hands out, as registries do.',
    'no credential; the client’s own Authorization is forwarded',
  ),
  prepare: () => ({ fields: [], keepsAuthorization: true }),
};
