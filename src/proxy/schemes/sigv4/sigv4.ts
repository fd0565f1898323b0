import { z } from 'zod';
import {
  type AwsKeys,
  awsKeysOf,
  type Credential,
  type SealedCredential,
} from '../../../domain/credential.ts';
import { valuesOf, withoutFields } from '../../http/fields.ts';
import { SidekeyError } from '../../../lib/errors.ts';
import { remedy } from '../../../lib/hint.ts';
import { text } from '../../../lib/text.ts';
import { authorityText } from '../../policy/authority.ts';
import {
  type AuthScheme,
  conceal,
  factsOf,
  type MessageFacts,
  refused,
  type RequestChanges,
  type RequestHead,
  type UnauthenticatedRequest,
} from '../scheme.ts';
import { type Payload, payloadOf, signedChunks, unsignedPayload } from './payload.ts';
import {
  type ClientSignature,
  type EndpointRule,
  parseAuthorization,
  parsePresigned,
  type PresignedQuery,
  regionOfCluster,
  scopeFor,
  unsignedQuery,
} from './scope.ts';
import { algorithm, canonicalRequest, createSigner, type Scope, scopeText, sha256 } from './signature.ts';

type SigV4Placement = {
  readonly kind: 'aws_sigv4';
  /** Null: derived from the host. */
  readonly service: string | null;
  /** Null: derived from the host, or from the client's signature. */
  readonly region: string | null;
};

/** Schema of a part of the scope of a signature. */
function signingName(description: string): z.ZodType<string, string> {
  return text<string>({ description }, (value) =>
    /^[A-Za-z0-9-]{1,64}$/.test(value) ? value : { problem: 'is not a name of a service or a region' },
  );
}

/**
 * AWS keys that sign each request (Signature Version 4), in place of the client's signature. The secret is
 * never sent. The time is Sidekey's: nothing is signed for another day, and a wait for approval does not
 * expire the signature.
 */
export const sigv4: AuthScheme<
  SigV4Placement,
  'aws_sigv4' | { readonly aws_sigv4: { readonly service: string; readonly region?: string | undefined } }
> = {
  kind: 'aws_sigv4',
  syntax: 'aws_sigv4',
  schemas: [
    z.literal('aws_sigv4').meta({
      description:
        'The request is signed (AWS Signature Version 4); the host says for which service and region.',
    }),
    z.strictObject({
      aws_sigv4: z.strictObject({
        service: signingName('The service that requests are signed for, such as s3.'),
        region: signingName('The region. Default: the one that the client signs for.').optional(),
      }),
    }),
  ],
  parse(written) {
    if (written === 'aws_sigv4') return { kind: 'aws_sigv4', service: null, region: null };
    const { service, region = null } = written.aws_sigv4;
    return { kind: 'aws_sigv4', service, region };
  },
  format({ service, region }) {
    if (service === null) return 'aws_sigv4';
    return { aws_sigv4: { service, ...(region === null ? {} : { region }) } };
  },
  describe: () => 'the request is signed (AWS Signature Version 4)',
  isNeverSent: true,
  needs: (request, rule) =>
    request.hasBody && planSigning(request, rule, null).payload.kind === 'unread'
      ? { of: 'hash', limit: 'signed_body_bytes', what: 'A request body that is signed by its hash' }
      : null,
  prepare: (sealed, rule) => ({
    fields: [],
    replaces: replacedBySigning,
    apply: (request) => signRequest(request, factsOf(request), sealed, rule),
  }),
};

/** Facts of a signature that are read before the request is signed. */
interface SigningPlan {
  readonly presigned: PresignedQuery | null;
  /** Names in lower case that the client signed. */
  readonly signedHeaders: readonly string[];
  readonly scope: Pick<Scope, 'region' | 'service'>;
  readonly payload: Payload;
}

/** Fields that the scheme writes. */
const replacedBySigning: ReadonlySet<string> = new Set([
  'authorization',
  'x-amz-date',
  'x-amz-security-token',
]);

/**
 * Reads the client's signature, and checks that the request may be signed.
 *
 * @param region the one region of the credential; null: any
 * @throws SidekeyError `policy_violation`
 */
export function planSigning(request: RequestHead, rule: EndpointRule, region: string | null): SigningPlan {
  if (regionOfCluster(request.authority.host) !== null) {
    const host = authorityText(request.authority);
    const hint = remedy('domain.allow', { host, grant: null, eks_cluster: null });
    throw refused(`The entry of ${host} in the domain map names no EKS cluster.`, hint);
  }
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

/** Changes that sign a request. */
export type Signed = Required<Pick<RequestChanges, 'path' | 'added'>> & RequestChanges;

/** Keys and facts that sign a request. */
interface SigningMeans extends Pick<MessageFacts, 'now' | 'bodyHash' | 'chunkBytes'> {
  readonly keys: AwsKeys;
}

/** Signs a request. @throws SidekeyError `policy_violation` */
export function resign(request: RequestHead, plan: SigningPlan, means: SigningMeans): Signed {
  return plan.presigned === null
    ? inField(request, plan, means)
    : inQuery(request, plan, plan.presigned, means);
}

function inField(request: RequestHead, plan: SigningPlan, means: SigningMeans): Signed {
  const { keys, now, bodyHash, chunkBytes } = means;
  const signer = createSigner(keys, plan.scope, now);
  const { payload } = plan;
  const added = ['X-Amz-Date', signer.timestamp];
  if (payload.kind === 'stated' && payload.isAdded) added.push('X-Amz-Content-Sha256', payload.value);
  if (keys.sessionToken !== null) added.push('X-Amz-Security-Token', keys.sessionToken);
  if (payload.kind === 'unread' && bodyHash === null)
    throw new SidekeyError('internal', 'The body was not read.');
  const fields = [...withoutReplaced(request.fields), ...added];
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
  request: RequestHead,
  { signedHeaders, scope, payload }: SigningPlan,
  presigned: PresignedQuery,
  means: SigningMeans,
): Signed {
  const { keys, now } = means;
  const signer = createSigner(keys, scope, now);
  if (payload.kind !== 'stated') {
    throw refused(
      'A presigned URL signs its body in a way that Sidekey cannot sign again.',
      'send x-amz-content-sha256: UNSIGNED-PAYLOAD, or sign in Authorization instead of the URL',
    );
  }
  const fields = withoutReplaced(request.fields);
  const signed = signedNames(fields, signedHeaders, false);
  const present = presentOf(fields, signed);
  const path = request.path.slice(0, request.path.indexOf('?'));
  const query = unsignedQuery(presigned, means, signer, present);
  const { text } = canonicalRequest({
    method: request.method,
    path: `${path}?${query}`,
    fields,
    signed,
    // S3 does not check the body of a presigned URL, and no field states it.
    payload: payload.isAdded && scope.service.startsWith('s3') ? unsignedPayload : payload.value,
    service: scope.service,
  });
  const signature = signer.sign(algorithm, sha256(text));
  const secrets = [signature, ...(keys.sessionToken === null ? [] : [keys.sessionToken])];
  return {
    path: `${path}?${query}&X-Amz-Signature=${signature}`,
    added: [],
    conceal: (received) => conceal(received, { texts: secrets }),
  };
}

function withoutReplaced(fields: readonly string[]): string[] {
  return withoutFields(fields, (name) => replacedBySigning.has(name));
}

/** Fields of one hop, and fields that Sidekey writes: a signature over them would be invalid. */
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

/** Returns the names to sign: those of the client, `Host`, all `x-amz-*`, and in a field `Content-Type`. */
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

function signRequest(
  { authority, path, fields }: UnauthenticatedRequest,
  facts: MessageFacts,
  sealed: SealedCredential,
  rule: SigV4Placement,
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

const keysBySealed = new WeakMap<SealedCredential, AwsKeys>();

/** Returns the same object for the same credential: derived keys are kept with it. */
export function keysOf(sealed: SealedCredential): AwsKeys {
  let keys = keysBySealed.get(sealed) ?? null;
  if (keys === null) {
    keys = awsKeysOf(sealed.credential);
    if (keys === null) {
      throw refused(
        'The credential of this grant is not one that signs requests to AWS.',
        'add the grant again with --replace: {"type":"aws","access_key_id":"AKIA…","secret_access_key":"…"}',
      );
    }
    keysBySealed.set(sealed, keys);
  }
  return keys;
}

/** Returns the one region that keys are used for; null: any. */
export function regionOf(credential: Credential): string | null {
  if (credential.type === 'aws') return credential.region;
  return credential.type === 'oauth2' && credential.renewal?.kind === 'aws_role'
    ? credential.renewal.region
    : null;
}
