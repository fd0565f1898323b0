import type { Credential, SealedCredential } from '../grants/credential.ts';
import type { Placement } from '../grants/provider.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { LimitName } from '../policy/limits.ts';
import { signsBody } from '../policy/template.ts';
import { isFieldName, isFieldValue, isReservedFieldName } from '../policy/text.ts';
import { assertTakes, bodyWith, inBody } from './body.ts';
import { inCookie } from './cookie.ts';
import { needsProof, provenToken, unprovenToken } from './dpop.ts';
import { basicField, bearerField, byTemplates, headerField, pairField } from './header.ts';
import { signedByTemplate } from './hmac.ts';
import { inPath } from './path.ts';
import { inQuery } from './query.ts';
import type { Carrier, Field } from './scheme.ts';
import { signedBySigV4, type Unsigned, wantsBodyHash } from './sigv4/resign.ts';
import { shownInHandshake, singleValue } from './single-value.ts';

/** What has to be known of a body before the head of its request can be written. */
export interface BodyNeed {
  /** `hash`: its SHA-256 alone. `whole`: every byte of it. */
  readonly of: 'hash' | 'whole';
  /** The limit that says how much of it is read. */
  readonly limit: Extract<LimitName, 'signed_body_bytes' | 'injected_body_bytes'>;
  /** The beginning of a sentence about it. */
  readonly what: string;
  /** Sees to it that the credential can be put there. @throws SidekeyError `policy_violation` */
  readonly check?: (body: Buffer) => void;
}

const hashOfSigned: BodyNeed = {
  of: 'hash',
  limit: 'signed_body_bytes',
  what: 'A request body that is signed by its hash',
};
const allOfSigned: BodyNeed = {
  of: 'whole',
  limit: 'signed_body_bytes',
  what: 'A request body that is signed',
};

/**
 * What of the body a plan needs. Null: nothing, and it streams.
 *
 * @throws SidekeyError `policy_violation`: such a request cannot carry the credential in any case
 */
export function bodyNeed(request: Unsigned, plan: Placement): BodyNeed | null {
  switch (plan.kind) {
    case 'aws_sigv4':
      return request.hasBody && wantsBodyHash(request, plan) ? hashOfSigned : null;
    case 'hmac':
      return request.hasBody && signsBody(plan) ? allOfSigned : null;
    case 'json':
    case 'form':
      assertTakes(request, plan);
      return {
        of: 'whole',
        limit: 'injected_body_bytes',
        what: 'A request body that the credential stands in',
        check: (body) => void bodyWith(body, plan, 'token'),
      };
    default:
      return null;
  }
}

/**
 * What a credential looks like in every request; what depends on the request is not among it.
 * @throws SidekeyError `policy_violation` where a name or value could not stand in a field line as it is.
 */
export function fieldsFor(credential: Credential, plan: Placement): readonly Field[] {
  const { fields } = carrierFor({ credential, audience: [] }, plan);
  for (const [name, value] of fields) checkField(name, value);
  return fields;
}

/** @throws SidekeyError `policy_violation`: no credential may stand in a field line of that name, or that value in any */
export function checkField(name: string, value: string): void {
  if (!isFieldName(name) || isReservedFieldName(name)) {
    throw new SidekeyError(
      'policy_violation',
      'The credential of this grant would be carried in a field that is reserved or has no valid name.',
      {
        hint: 'name another field in the inject setting of the provider, or add the grant again with --replace',
      },
    );
  }
  if (!isFieldValue(value)) {
    throw new SidekeyError(
      'policy_violation',
      'The stored credential holds a byte that must not stand in a header field.',
      { hint: 'add the grant again with --replace' },
    );
  }
}

const bearer: Placement = { kind: 'bearer' };

/**
 * A credential as a plan has it carried.
 * @throws SidekeyError `policy_violation`: it cannot be carried so; `internal`: there is nothing to carry yet
 */
export function carrierFor(sealed: SealedCredential, plan: Placement): Carrier {
  const { credential } = sealed;
  if (needsProof(credential, plan)) return provenToken(credential);
  switch (plan.kind) {
    case 'aws_sigv4':
      return signedBySigV4(sealed, plan);
    case 'client_certificate':
      return shownInHandshake(sealed);
    case 'dpop':
      return unprovenToken(credential, () => carrierFor(sealed, bearer));
    case 'placeholder':
      return { fields: [], keepsAuthorization: true };
    case 'hmac':
      return signedByTemplate(plan, credential);
    case 'headers':
      return byTemplates(plan, credential);
    case 'cookie':
      return inCookie(plan.name, singleValue(credential));
    case 'json':
    case 'form':
      return inBody(plan, singleValue(credential));
    case 'bearer':
    case 'header':
    case 'basic':
    case 'path':
    case 'query': {
      const own = ownFields(credential, plan);
      return own === null ? single(singleValue(credential), plan) : { fields: own };
    }
  }
}

/** A credential of several values brings its own fields, and leaves the path alone. Null: it is one value. */
function ownFields(credential: Credential, plan: Placement): readonly Field[] | null {
  switch (credential.type) {
    case 'basic':
      return [pairField(credential, plan)];
    case 'headers':
      return credential.headers;
    default:
      return null;
  }
}

type SinglePlan = Extract<Placement, { kind: 'bearer' | 'header' | 'basic' | 'path' | 'query' }>;

function single(token: string, plan: SinglePlan): Carrier {
  switch (plan.kind) {
    case 'bearer':
      return { fields: [bearerField(token)] };
    case 'header':
      return { fields: [headerField(plan.name, plan.prefix, token)] };
    case 'basic':
      return { fields: [basicField(plan.username, token)] };
    case 'path':
      return inPath(plan.prefixes, token);
    case 'query':
      return inQuery(plan.name, token);
  }
}
