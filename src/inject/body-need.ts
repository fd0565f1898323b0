import type { InjectPlan } from '../grants/provider.ts';
import type { LimitName } from '../policy/limits.ts';
import { assertTakes, bodyWith } from './body/in-body.ts';
import { signsBody } from '../policy/hmac-names.ts';
import type { Unsigned } from './sigv4/resign.ts';
import { wantsBodyHash } from './sigv4/sign-request.ts';

/** What has to be known of a body before the head of its request can be written. */
export interface BodyNeed {
  /** `hash`: its SHA-256 alone. `whole`: every byte of it. */
  readonly of: 'hash' | 'whole';
  /** The limit that says how much of it is read. */
  readonly limit: Extract<LimitName, 'signed_body_bytes' | 'rewritten_body_bytes'>;
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
export function bodyNeed(request: Unsigned, plan: InjectPlan): BodyNeed | null {
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
        limit: 'rewritten_body_bytes',
        what: 'A request body that the credential stands in',
        check: (body) => void bodyWith(body, plan, 'token'),
      };
    default:
      return null;
  }
}
