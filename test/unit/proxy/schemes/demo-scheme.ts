import { createHash } from 'node:crypto';
import { z } from 'zod';
import { singleValue } from '../../../../src/proxy/schemes/credential.ts';
import { fieldName } from '../../../../src/proxy/schemes/parameters.ts';
import { type AuthScheme, factsOf } from '../../../../src/proxy/schemes/scheme.ts';

type DemoPlacement = { readonly kind: 'x-demo'; readonly name: string };

const derived = (token: string) => Array.from(token).toReversed().join('');

/** A field with the reversed token and the hash of the body. */
export const demo: AuthScheme<DemoPlacement, { readonly 'x-demo': string }> = {
  kind: 'x-demo',
  syntax: '{ x-demo: NAME }',
  schemas: [z.strictObject({ 'x-demo': fieldName('The field.') })],
  parse: ({ 'x-demo': name }) => ({ kind: 'x-demo', name }),
  format: ({ name }) => ({ 'x-demo': name }),
  describe: ({ name }) => `${name}: … and the hash of the body`,
  accepts: () => 'single',
  needs: ({ hasBody }) =>
    hasBody ? { of: 'whole', limit: 'signed_body_bytes', what: 'A request body of the demo' } : null,
  secrets: (credential) => [derived(singleValue(credential))],
  prepare: ({ credential }, { name }) => ({
    fields: [],
    replaces: [name.toLowerCase()],
    apply(request) {
      const hash = createHash('sha256').update(factsOf(request).body!).digest('hex');
      return { added: [name, `${derived(singleValue(credential))} ${hash}`] };
    },
  }),
};
