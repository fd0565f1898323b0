import { type AwsKeys, awsKeysOf, type Credential, type SealedCredential } from '../../grants/credential.ts';
import type { Placement } from '../../grants/provider.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { type Authority, authorityText } from '../../policy/authority.ts';
import {
  type CarriedRequest,
  type Carrier,
  conceal,
  factsOf,
  type MessageFacts,
  refused,
} from '../scheme.ts';
import {
  type ClientSignature,
  parseAuthorization,
  parsePresigned,
  type PresignedQuery,
  unsignedQuery,
} from './authorization.ts';
import { type EndpointRule, scopeFor } from './endpoint.ts';
import {
  algorithm,
  canonicalRequest,
  createSigner,
  type Scope,
  scopeText,
  sha256,
  type Signer,
} from './signature.ts';
import { type Payload, payloadOf, signedChunks } from './streaming.ts';

/**
 * A request as it is signed with the keys of a grant, whatever keys its client signed it with. Its time is ours: nothing
 * is signed for another day, and a request that a person was asked about does not come too late.
 */

/** A request that is to be signed. */
export interface Unsigned {
  readonly authority: Authority;
  readonly method: string;
  /** Origin-form, with its query. */
  readonly path: string;
  /** Name, value, name, value… with `Host`, as they are to be sent. */
  readonly fields: readonly string[];
  /** Whether a byte may come after the head. */
  readonly hasBody: boolean;
}

/** What of a request's signature is read before anything is signed. */
interface SigningPlan {
  readonly presigned: PresignedQuery | null;
  /** Names in lower case; those that the client signed. */
  readonly signedHeaders: readonly string[];
  readonly scope: Pick<Scope, 'region' | 'service'>;
  /** `unread`: the hash of the body is needed to sign it. */
  readonly payload: Payload;
}

/** Fields that a signature writes anew. */
const replacedBySigning: ReadonlySet<string> = new Set([
  'authorization',
  'x-amz-date',
  'x-amz-security-token',
]);

/**
 * Reads how a request is signed, and checks that it may be signed so.
 *
 * @param region the one that the credential is for; null: any
 * @throws SidekeyError `policy_violation`
 */
export function planSigning(request: Unsigned, rule: EndpointRule, region: string | null): SigningPlan {
  const presigned = parsePresigned(request.path);
  const authorizations = valuesOf(request.fields, 'authorization');
  if (authorizations.length + (presigned === null ? 0 : 1) > 1) {
    throw refused('The request is signed more than once.', 'sign in Authorization or in the query, once');
  }
  const [authorization] = authorizations;
  const client: ClientSignature | null =
    presigned ?? (authorization === undefined ? null : parseAuthorization(authorization));
  const scope = scopeFor(request.authority, rule, client?.scope ?? null, region);
  if (scope.service === 's3express') {
    throw refused(
      'S3 Express signs with keys of a session, which a client gets from S3 itself; Sidekey does not sign these.',
      'use a bucket that is no directory bucket',
    );
  }
  const stated = valuesOf(request.fields, 'x-amz-content-sha256');
  const payload = payloadOf(stated, scope.service, request.hasBody);
  return { presigned, signedHeaders: client?.signedHeaders ?? [], scope, payload };
}

/** A request with its signature. */
export interface Signed {
  readonly path: string;
  /** What comes in the place of the fields that are written anew. */
  readonly added: readonly string[];
  /** Signs the body while it streams; absent: it goes on as it is. */
  readonly rewriteBody?: (pieces: AsyncIterable<Buffer> | Iterable<Buffer>) => AsyncIterable<Buffer>;
  /** Takes what is good for something out of response fields that repeat the address. */
  readonly conceal?: (fields: readonly string[]) => readonly string[];
}

/** With what a request is signed. */
interface SigningMeans {
  readonly keys: AwsKeys;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** SHA-256 of the body in hex, where the plan wants it. */
  readonly bodyHash: string | null;
  /** See `ChunkSigning`. */
  readonly chunkBytes: number;
}

/** @throws SidekeyError `policy_violation` */
export function resign(request: Unsigned, plan: SigningPlan, means: SigningMeans): Signed {
  const { keys, now } = means;
  const signer = createSigner(keys, plan.scope, now);
  return plan.presigned === null
    ? inField(request, plan, means, signer)
    : inQuery(request, plan, plan.presigned, keys, signer, now);
}

function inField(request: Unsigned, plan: SigningPlan, means: SigningMeans, signer: Signer): Signed {
  const { keys, bodyHash, chunkBytes } = means;
  const { payload } = plan;
  const added = ['X-Amz-Date', signer.timestamp];
  if (payload.kind === 'stated' && payload.isAdded) added.push('X-Amz-Content-Sha256', payload.value);
  if (keys.sessionToken !== null) added.push('X-Amz-Security-Token', keys.sessionToken);
  if (payload.kind === 'unread' && bodyHash === null)
    throw new SidekeyError('internal', 'The body was not read.');
  const fields = [...kept(request.fields), ...added];
  const { text, signedHeaders } = canonicalRequest({
    method: request.method,
    path: request.path,
    fields,
    signed: signedNames(fields, plan.signedHeaders, true),
    payload: payload.kind === 'unread' ? bodyHash! : payload.value,
    service: plan.scope.service,
  });
  const seed = signer.sign(algorithm, sha256(text));
  const credential = `${keys.accessKeyId}/${scopeText(signer.scope)}`;
  const own = `${algorithm} Credential=${credential}, SignedHeaders=${signedHeaders}, Signature=${seed}`;
  const signed = { path: request.path, added: ['Authorization', own, ...added] };
  if (payload.kind !== 'chunks') return signed;
  const { hasTrailers } = payload;
  return {
    ...signed,
    rewriteBody: (pieces) => signedChunks(pieces, { signer, seed, hasTrailers, chunkBytes }),
  };
}

function inQuery(
  request: Unsigned,
  { signedHeaders, scope, payload }: SigningPlan,
  presigned: PresignedQuery,
  keys: AwsKeys,
  signer: Signer,
  now: number,
): Signed {
  if (payload.kind !== 'stated') {
    throw refused('A presigned URL signs its body in a way that Sidekey does not sign anew.');
  }
  const fields = kept(request.fields);
  const signed = signedNames(fields, signedHeaders, false);
  const present = presentOf(fields, signed);
  const path = request.path.slice(0, request.path.indexOf('?'));
  const query = unsignedQuery(presigned, keys, signer, present, now);
  const { text } = canonicalRequest({
    method: request.method,
    path: `${path}?${query}`,
    fields,
    signed,
    // The word of S3 for what it does not look at; nothing says it in a field.
    payload: payload.isAdded && scope.service.startsWith('s3') ? 'UNSIGNED-PAYLOAD' : payload.value,
    service: scope.service,
  });
  const signature = signer.sign(algorithm, sha256(text));
  const secrets = [signature, ...(keys.sessionToken === null ? [] : [keys.sessionToken])];
  return {
    path: `${path}?${query}&X-Amz-Signature=${signature}`,
    added: [],
    conceal: (answered) => conceal(answered, { texts: secrets }),
  };
}

function kept(fields: readonly string[]): string[] {
  return fields.filter((_, index) => !replacedBySigning.has(fields[index - (index % 2)]!.toLowerCase()));
}

/** Of one hop, or written anew on the way: a signature over them would not hold. */
const neverSigned: ReadonlySet<string> = new Set([
  'authorization',
  'connection',
  'expect',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/**
 * What the client signed, as far as it goes on, and what AWS wants signed: `Host` and all `x-amz-*`, and in a field the
 * type of the body.
 */
function signedNames(
  fields: readonly string[],
  asked: readonly string[],
  isField: boolean,
): ReadonlySet<string> {
  const signed = new Set(['host', ...(isField ? ['content-type'] : []), ...asked]);
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase();
    if (name.startsWith('x-amz-')) signed.add(name);
  }
  for (const name of neverSigned) signed.delete(name);
  return signed;
}

function presentOf(fields: readonly string[], signed: ReadonlySet<string>): string {
  const names = fields.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
  return [...new Set(names.filter((name) => signed.has(name)))].toSorted().join(';');
}

function valuesOf(fields: readonly string[], name: string): string[] {
  return fields.filter((_, index) => index % 2 === 1 && fields[index - 1]!.toLowerCase() === name);
}

type SigningRule = Extract<Placement, { kind: 'aws_sigv4' }>;

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
