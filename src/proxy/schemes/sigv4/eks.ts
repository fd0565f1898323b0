import type { AwsKeys } from '../../../domain/credential.ts';
import { valuesOf } from '../../http/fields.ts';
import type { EksPlacement } from '../../policy/domain-map.ts';
import { secretsOf } from '../credential.ts';
import { type AuthScheme, factsOf, refused, type RequestChanges } from '../scheme.ts';
import { scopeFor } from './scope.ts';
import {
  algorithm,
  canonicalRequest,
  createSigner,
  emptyHash,
  parseTimestamp,
  scopeText,
  sha256,
  uriEncode,
} from './signature.ts';
import { keysOf, regionOf } from './sigv4.ts';

/** Secret access key of clients, with which they sign tokens. It grants no access, and names no grant. */
export const secretPlaceholder = 'sidekey-placeholder/secret/access/key000';

/** `X-Amz-Expires` of `aws eks get-token`, in seconds. EKS ignores it, and accepts a token for 15 minutes. */
const lifetimeS = 60;

/** EKS caches the account of a token, so requests within this time have the same token. Milliseconds. */
const sameTokenMs = 15_000;

/** Maximum age of a client's token in milliseconds: that of EKS. */
const maxAgeMs = 15 * 60_000;

/**
 * Tokens of EKS: presigned URLs of STS, which EKS requests to find out who signed them. The client's token is
 * only checked. The URL that is signed consists of nothing that the client sent.
 */
export const eks: AuthScheme<EksPlacement, never> = {
  kind: 'eks',
  syntax: null,
  schemas: [],
  parse: (written) => written,
  format: ({ cluster }) => ({ eks_cluster: cluster }),
  describe: ({ cluster }) => `Authorization: Bearer … (a token for the EKS cluster ${cluster})`,
  isNeverSent: true,
  prepare(sealed, { cluster, region }) {
    let made: { readonly at: number; readonly changes: RequestChanges } | undefined;
    return {
      fields: [],
      apply(request) {
        const { now } = factsOf(request);
        const tokens = valuesOf(request.fields, 'authorization');
        if (tokens.length > 0) verifyToken(tokens.join(), cluster, now);
        const host = `sts.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}`;
        const own = regionOf(sealed.credential);
        const at = now - (now % sameTokenMs);
        if (made?.at !== at) {
          const url = presignedUrl({ host, own, cluster, at, lifetimeS }, keysOf(sealed));
          const token = Buffer.from(url).toString('base64url');
          const [signature = ''] = /[0-9a-f]+$/.exec(url) ?? [];
          const secrets = { texts: [...secretsOf(sealed.credential), token, signature] };
          made = { at, changes: { added: ['Authorization', `Bearer k8s-aws-v1.${token}`], secrets } };
        }
        return made.changes;
      },
    };
  },
};

/** Returns the URL in an EKS token, a character per byte; null: `Authorization` has no such token. */
export function urlOfToken(authorization: string): string | null {
  const [, encoded] = /^bearer +k8s-aws-v1\.([A-Za-z0-9_-]+) *$/i.exec(authorization) ?? [];
  return encoded === undefined ? null : Buffer.from(encoded, 'base64url').toString('latin1');
}

const stsUrl = /^https:\/\/(sts\.(?:[a-z0-9-]+\.)?amazonaws\.com(?:\.cn)?)\/\?(.+)$/;

/**
 * Checks that a token is for the cluster, and signed with the placeholder: signs the same URL again, and
 * compares all of it but the order of its parameters.
 *
 * @param now milliseconds since the epoch
 * @throws SidekeyError `policy_violation`
 */
function verifyToken(token: string, cluster: string, now: number): void {
  const url = urlOfToken(token);
  const [, host, text] = stsUrl.exec(url ?? '') ?? [];
  const query = new URLSearchParams(text);
  const at = parseTimestamp(query.get('X-Amz-Date') ?? '');
  const seconds = Number(query.get('X-Amz-Expires'));
  if (url === null || host === undefined || at === null || !(seconds > 0 && seconds <= maxAgeMs / 1000)) {
    throw refused(
      'The Authorization header has no EKS token that Sidekey reads.',
      `use a token of: aws eks get-token --cluster-name ${cluster}; or send no Authorization`,
    );
  }
  if (Math.abs(now - at) > maxAgeMs)
    throw refused(
      'The EKS token was not made within the last 15 minutes.',
      'get a new one, and check the clock',
    );
  const [accessKeyId = ''] = (query.get('X-Amz-Credential') ?? '').split('/', 1);
  const keys = {
    accessKeyId,
    secretAccessKey: secretPlaceholder,
    sessionToken: query.get('X-Amz-Security-Token'),
  };
  const expected = presignedUrl({ host, own: null, cluster, at, lifetimeS: seconds }, keys);
  if (partsOf(url) === partsOf(expected)) return;
  throw refused(
    `The EKS token is for another cluster than ${cluster}, or was not signed with the placeholder keys.`,
    `put --cluster-name ${cluster} into the kubeconfig, and use the AWS keys that sidekey run sets`,
  );
}

function partsOf(url: string): string {
  return url.split(/[?&]/).toSorted().join('&');
}

interface TokenFacts {
  /** Host of STS. */
  readonly host: string;
  /** The one region of the keys; null: any. */
  readonly own: string | null;
  readonly cluster: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly lifetimeS: number;
}

/** https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html */
function presignedUrl({ host, own, cluster, at, lifetimeS: seconds }: TokenFacts, keys: AwsKeys): string {
  const authority = { scheme: 'https', host, port: 443 } as const;
  const signer = createSigner(keys, scopeFor(authority, { service: null, region: null }, null, own), at);
  const signed = ['host', 'x-k8s-aws-id'];
  const parameters = [
    ['Action', 'GetCallerIdentity'],
    ['Version', '2011-06-15'],
    ['X-Amz-Algorithm', algorithm],
    ['X-Amz-Credential', `${keys.accessKeyId}/${scopeText(signer.scope)}`],
    ['X-Amz-Date', signer.timestamp],
    ['X-Amz-Expires', String(seconds)],
    ['X-Amz-SignedHeaders', signed.join(';')],
    ...(keys.sessionToken === null ? [] : [['X-Amz-Security-Token', keys.sessionToken]]),
  ];
  const path = `/?${parameters.map(([name, value]) => `${name}=${uriEncode(value!)}`).join('&')}`;
  const { text } = canonicalRequest({
    method: 'GET',
    path,
    fields: ['Host', host, 'x-k8s-aws-id', cluster],
    signed: new Set(signed),
    payload: emptyHash,
    service: 'sts',
  });
  return `https://${host}${path}&X-Amz-Signature=${signer.sign(algorithm, sha256(text))}`;
}
