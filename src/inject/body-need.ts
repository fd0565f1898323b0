import type { InjectPlan } from '../grants/provider.ts';
import { wantsBodyHash } from './sigv4/sign-request.ts';
import type { Unsigned } from './sigv4/resign.ts';

/** What has to be known of a body before the head of its request can be written. */
export interface BodyNeed {
  /** `hash`: its SHA-256 alone. `whole`: every byte of it. */
  readonly of: 'hash' | 'whole';
  /** The limit that says how much of it is read. */
  readonly limit: 'signed_body_bytes';
  /** The beginning of a sentence about it. */
  readonly what: string;
}

const hashOfSigned: BodyNeed = {
  of: 'hash',
  limit: 'signed_body_bytes',
  what: 'A request body that is signed by its hash',
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
    default:
      return null;
  }
}
