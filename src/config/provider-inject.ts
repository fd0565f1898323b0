import { z } from 'zod';
import type { DpopAlgorithm } from '../grants/credential.ts';
import type { Flow, InjectPlace, Placement, Provider } from '../grants/provider.ts';
import { schemes } from '../schemes/list.ts';
import { pathGlob, some } from './rules.ts';
import { domainPattern } from './scalar.ts';

/** Schema of a provider's `dpop`: tokens that are bound to a key (RFC 9449). */
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

/** Parts of a definition that `dpop` must fit. */
interface Bound {
  readonly dpop?: DpopAlgorithm | null | undefined;
  readonly flows?: readonly Flow[] | undefined;
  readonly inject?: readonly InjectPlace[] | undefined;
}

/** Flows whose tokens come from another service, or are none of OAuth's. */
const unboundFlows: readonly Flow[] = ['auth0_connection', 'github_installation', 'aws_role'];

/** Returns the end of a sentence: the tokens of a definition cannot be bound to a key. Null: they can. */
export function dpopMisfit({ dpop, flows = [], inject = [] }: Bound): string | null {
  if (dpop === undefined || dpop === null) return null;
  const flow = flows.find((each) => unboundFlows.includes(each));
  if (flow !== undefined) return `does not go with the flow ${flow}, whose tokens are bound to no key`;
  const isElsewhere = inject.some(({ as: { kind } }) => kind !== 'bearer' && kind !== 'own');
  return isElsewhere
    ? 'goes with inject: bearer; a token that is bound to a key is carried in no other way'
    : null;
}

/** Replaces `bearer` by `dpop` in the places of a provider with bound tokens. */
export function dpopPlaces(places: readonly InjectPlace[], dpop: Provider['dpop']): readonly InjectPlace[] {
  if (dpop === null) return places;
  return places.map((place) => (place.as.kind === 'bearer' ? { ...place, as: { kind: 'dpop' } } : place));
}

const named = schemes.filter(({ syntax }) => syntax !== null);
/** `own` does not carry a credential. */
const everywhere = named.filter(({ kind }) => kind !== 'own');

const schemasOf = (all: typeof schemes) => all.flatMap(({ schemas }) => schemas);
const formsOf = (all: typeof schemes) => all.map(({ syntax }) => syntax).join(', ');

/** Parses a checked `inject`: its text, or its first key, is the kind of a scheme. */
function placementOf(written: unknown): Placement {
  const scheme = named.find(
    ({ kind }) => written === kind || (typeof written === 'object' && written !== null && kind in written),
  );
  return scheme!.parse(written);
}

const place = z
  .strictObject({
    hosts: some(domainPattern('host, host:port or *.suffix'), 'The hosts; default: all.').optional(),
    paths: some(
      pathGlob('A path. One that two servers would read differently is none of them.'),
      'The paths; default: all.',
    ).optional(),
    as: z
      .union(schemasOf(named), { error: `must be ${formsOf(everywhere)} or own` })
      .meta({ description: 'How the credential is carried there.' }),
  })
  .transform(({ hosts, paths, as }): InjectPlace => ({
    hosts: hosts?.map((pattern) => pattern.text) ?? null,
    paths: paths?.map((glob) => glob.text) ?? null,
    as: placementOf(as),
  }));

/** Schema of a provider's `inject`. */
export const injectDefinition = z
  .union(
    [
      ...schemasOf(everywhere),
      some(place, 'The first place that has the request says; elsewhere it does not go.'),
    ],
    {
      error: `must be ${formsOf(everywhere)}, or a list of { hosts, paths, as }`,
    },
  )
  .transform((written): readonly InjectPlace[] =>
    Array.isArray(written)
      ? (written as readonly InjectPlace[])
      : [{ hosts: null, paths: null, as: placementOf(written) }],
  )
  .meta({
    description: 'How a credential stands in a request; a list says it for each place. Default: bearer.',
  });
