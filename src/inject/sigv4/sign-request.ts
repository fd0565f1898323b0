import { SidekeyError } from '../../errors.ts';
import { awsKeysOf, type AwsKeys } from '../../grants/aws-keys.ts';
import type { Credential, SealedCredential } from '../../grants/credential.ts';
import type { InjectPlan } from '../../grants/provider.ts';
import { authorityText, type Authority } from '../../policy/authority.ts';
import { planSigning, resign, type Signed, type Unsigned } from './resign.ts';

/** What of a request a signature needs besides its path and its fields. */
export interface SigningFacts {
  readonly method: string;
  /** Whether a byte may come after the head. */
  readonly hasBody: boolean;
  /** SHA-256 of the body in hex, where `wantsBodyHash` says so; else null. */
  readonly bodyHash: string | null;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Bytes of a chunk that are held, so that its signature can stand before it. */
  readonly chunkBytes: number;
}

type SigningRule = Extract<InjectPlan, { kind: 'aws_sigv4' }>;

/**
 * Whether the hash of a request's body has to be known before it can be signed.
 *
 * @throws SidekeyError `policy_violation`: it is not signed in any case
 */
export function wantsBodyHash(request: Unsigned, rule: SigningRule): boolean {
  return planSigning(request, rule, null).payload.kind === 'unread';
}

/**
 * A request, signed with the keys of a grant.
 *
 * @throws SidekeyError `policy_violation`
 */
export function signRequest(
  {
    authority,
    path,
    fields,
  }: { readonly authority: Authority; readonly path: string; readonly fields: readonly string[] },
  sealed: SealedCredential,
  rule: SigningRule,
  facts: SigningFacts,
): Signed {
  const hasHost = fields.some((name, index) => index % 2 === 0 && name.toLowerCase() === 'host');
  const request = {
    authority,
    method: facts.method,
    path,
    fields: hasHost ? fields : ['Host', authorityText(authority), ...fields],
    hasBody: facts.hasBody,
  };
  const plan = planSigning(request, rule, regionOf(sealed.credential));
  return resign(request, plan, { ...facts, keys: keysOf(sealed) });
}

const known = new WeakMap<SealedCredential, AwsKeys>();

/** The same object for the same credential: what is derived from the keys is kept with it. */
function keysOf(sealed: SealedCredential): AwsKeys {
  let keys = known.get(sealed) ?? null;
  if (keys === null) {
    keys = awsKeysOf(sealed.credential);
    if (keys === null) throw notKeys();
    known.set(sealed, keys);
  }
  return keys;
}

function regionOf(credential: Credential): string | null {
  if (credential.type === 'aws') return credential.region;
  return credential.type === 'oauth2' && credential.renewal?.kind === 'aws_role'
    ? credential.renewal.region
    : null;
}

function notKeys(): SidekeyError {
  return new SidekeyError(
    'policy_violation',
    'The credential of this grant is not one that signs requests to AWS.',
    {
      hint: 'add the grant again with --replace: {"type":"aws","access_key_id":"AKIA…","secret_access_key":"…"}',
    },
  );
}
