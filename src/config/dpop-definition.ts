import { z } from 'zod';
import type { DpopAlgorithm } from '../grants/credential.ts';
import type { Flow, InjectPlace, Provider } from '../grants/provider.ts';

/** Tokens that are bound to a key (RFC 9449), as a provider's definition says it. */
export const dpopDefinition = z
  .union(
    [
      z.boolean(),
      z.strictObject({
        algorithm: z
          .enum(['ES256', 'EdDSA'])
          .prefault('ES256')
          .meta({ description: 'How proofs are signed. Default: ES256, which every server takes.' }),
      }),
    ],
    { error: 'must be true, false or { algorithm: ES256 | EdDSA }' },
  )
  .transform((written): DpopAlgorithm | null =>
    typeof written === 'object' ? written.algorithm : written ? 'ES256' : null,
  )
  .meta({
    description:
      'Tokens are bound to a key that stays in Sidekey, and each request carries a proof of it (DPoP, RFC 9449). A token that is not bound is refused.',
  });

/** What of a definition binding to a key has to fit. */
export interface Bound {
  readonly dpop?: DpopAlgorithm | null | undefined;
  readonly flows?: readonly Flow[] | undefined;
  readonly inject?: readonly InjectPlace[] | undefined;
}

/** Their tokens come from elsewhere, or are none of OAuth's. */
const unboundFlows: readonly Flow[] = ['auth0_connection', 'github_installation', 'aws_role'];

/** Why the tokens of a definition cannot be bound to a key, as the end of a sentence; null: they can. */
export function dpopMisfit({ dpop, flows = [], inject = [] }: Bound): string | null {
  if (dpop === undefined || dpop === null) return null;
  const flow = flows.find((each) => unboundFlows.includes(each));
  if (flow !== undefined) return `does not go with the flow ${flow}, whose tokens are bound to no key`;
  const isElsewhere = inject.some(({ as: { kind } }) => kind !== 'bearer' && kind !== 'own');
  return isElsewhere
    ? 'goes with inject: bearer; a token that is bound to a key is carried in no other way'
    : null;
}

/** The places of a provider, where a bearer becomes a token with a proof. */
export function dpopPlaces(places: readonly InjectPlace[], dpop: Provider['dpop']): readonly InjectPlace[] {
  if (dpop === null) return places;
  return places.map((place) => (place.as.kind === 'bearer' ? { ...place, as: { kind: 'dpop' } } : place));
}
