import { SidekeyError } from '../../errors.ts';
import { awsKeysOf, type AwsKeys } from '../../grants/aws-keys.ts';
import type { Credential, SealedCredential } from '../../grants/credential.ts';
import type { InjectPlan } from '../../grants/provider.ts';
import { authorityText } from '../../policy/authority.ts';
import { factsOf, type CarriedRequest, type Carrier } from '../carrier.ts';
import type { MessageFacts } from '../message-facts.ts';
import { planSigning, replacedBySigning, resign, type Signed, type Unsigned } from './resign.ts';

type SigningRule = Extract<InjectPlan, { kind: 'aws_sigv4' }>;

/**
 * Whether the hash of a request's body has to be known before it can be signed.
 *
 * @throws SidekeyError `policy_violation`: it is not signed in any case
 */
export function wantsBodyHash(request: Unsigned, rule: SigningRule): boolean {
  return planSigning(request, rule, null).payload.kind === 'unread';
}

/** Keys that sign: nothing of them is sent. */
export function signedBySigV4(sealed: SealedCredential, rule: SigningRule): Carrier {
  return {
    fields: [],
    replaces: replacedBySigning,
    into: (request) => signRequest(request, factsOf(request), sealed, rule),
  };
}

function signRequest(
  { authority, path, fields }: CarriedRequest,
  facts: MessageFacts,
  sealed: SealedCredential,
  rule: SigningRule,
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
