import { z } from 'zod';
import type { AuthScheme } from './scheme.ts';

/** Schemes that forward the client's own `Authorization`. */

type PlaceholderPlacement = { readonly kind: 'placeholder' };

/** Writes the credential only where the client put its placeholder (`proxy/placeholders/substitute.ts`). */
export const placeholder: AuthScheme<PlaceholderPlacement, 'placeholder'> = {
  kind: 'placeholder',
  syntax: 'placeholder',
  schemas: [
    z.literal('placeholder').meta({
      description:
        'Where the client put the placeholder that it was given, and nowhere else; `placeholders` says where it may.',
    }),
  ],
  parse: () => ({ kind: 'placeholder' }),
  format: () => 'placeholder',
  describe: () => 'where the client puts its placeholder',
  prepare: () => ({ fields: [], keepsAuthorization: true }),
};

type OwnPlacement = { readonly kind: 'own' };

/** No credential of a grant: the client uses a token that the service itself issued, as registries do. */
export const own: AuthScheme<OwnPlacement, 'own'> = {
  kind: 'own',
  syntax: 'own',
  schemas: [
    z.literal('own').meta({
      description:
        'No credential; the Authorization of the client goes on: for tokens that the service itself hands out, as registries do.',
    }),
  ],
  parse: () => ({ kind: 'own' }),
  format: () => 'own',
  describe: () => 'no credential; the client’s own Authorization is forwarded',
  prepare: () => ({ fields: [], keepsAuthorization: true }),
};
