import type { Credential, SealedCredential } from '../grants/credential.ts';
import type { InjectPlan } from '../grants/provider.ts';
import { basicField, pairField } from './basic.ts';
import { bearerField } from './bearer.ts';
import { inBody } from './body/in-body.ts';
import type { Carrier } from './carrier.ts';
import { shownInHandshake } from './client-certificate.ts';
import { inCookie } from './cookie.ts';
import { isProven, provenToken, unprovenToken } from './dpop/bound-token.ts';
import type { Field } from './field.ts';
import { headerField } from './header.ts';
import { byTemplates } from './headers.ts';
import { signedByTemplate } from './hmac/signed-by-template.ts';
import { inPath } from './path.ts';
import { inQuery } from './query.ts';
import { singleValue } from './single-value.ts';
import { signedBySigV4 } from './sigv4/sign-request.ts';

const bearer: InjectPlan = { kind: 'bearer' };

/**
 * A credential as a plan has it carried.
 * @throws SidekeyError `policy_violation`: it cannot be carried so; `internal`: there is nothing to carry yet
 */
export function carrierFor(sealed: SealedCredential, plan: InjectPlan): Carrier {
  const { credential } = sealed;
  if (isProven(credential, plan)) return provenToken(credential);
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
function ownFields(credential: Credential, plan: InjectPlan): readonly Field[] | null {
  switch (credential.type) {
    case 'basic':
      return [pairField(credential, plan)];
    case 'headers':
      return credential.headers;
    default:
      return null;
  }
}

type SinglePlan = Extract<InjectPlan, { kind: 'bearer' | 'header' | 'basic' | 'path' | 'query' }>;

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
