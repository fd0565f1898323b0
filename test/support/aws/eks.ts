import { RequestSigner } from 'aws4';

/** Facts of a token of EKS, as `aws eks get-token` makes it. */
export interface EksTokenFacts {
  readonly keys: { readonly id: string; readonly secret: string; readonly token?: string | undefined };
  readonly cluster: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly region?: string;
  readonly host?: string;
  readonly action?: string;
  readonly expires?: number | string;
  /** More parameters, signed as well. */
  readonly more?: string;
  /** More fields, signed as well. */
  readonly fields?: object;
  readonly service?: string;
}

/** Presigns the URL of a token, with a signer that shares no code with Sidekey. */
export function eksUrl(facts: EksTokenFacts): string {
  const { keys, cluster, at, region = 'eu-west-1', host = `sts.${region}.amazonaws.com` } = facts;
  const { action = 'GetCallerIdentity', expires = 60, more = '', fields = {}, service = 'sts' } = facts;
  const date = `${new Date(at).toISOString().slice(0, 19).replaceAll(/[-:]/g, '')}Z`;
  const path = `/?Action=${action}&Version=2011-06-15&X-Amz-Date=${date}&X-Amz-Expires=${expires}${more}`;
  const headers = { 'x-k8s-aws-id': cluster, ...fields };
  const credentials = { accessKeyId: keys.id, secretAccessKey: keys.secret, sessionToken: keys.token };
  const signer = new RequestSigner({ host, path, region, service, headers, signQuery: true }, credentials);
  return `https://${host}${(signer.sign() as unknown as { readonly path: string }).path}`;
}

/** Returns the token with a URL. */
export function tokenOf(url: string): string {
  return `k8s-aws-v1.${Buffer.from(url).toString('base64url')}`;
}

/** Parameters of a URL that aws-iam-authenticator permits. */
const permitted = [
  'action',
  'version',
  'x-amz-algorithm',
  'x-amz-credential',
  'x-amz-date',
  'x-amz-expires',
  'x-amz-security-token',
  'x-amz-signature',
  'x-amz-signedheaders',
];

/**
 * Returns the URL in a token after the checks of aws-iam-authenticator (pkg/token/token.go): STS then says
 * who signed it. A text is the reason of its refusal.
 */
export function urlOfAuthenticator(token: string, now: number): URL | string {
  if (token.length > 4_096) return 'token is too large';
  const [, encoded] = /^k8s-aws-v1\.(.+)$/.exec(token) ?? [];
  if (encoded === undefined) return 'token is missing expected prefix';
  const url = URL.parse(Buffer.from(encoded, 'base64url').toString());
  if (url?.protocol !== 'https:') return 'unexpected scheme';
  if (!/^sts\.[a-z0-9-]+\.amazonaws\.com$/.test(url.host)) return 'unexpected hostname';
  if (url.pathname !== '/') return 'unexpected path';
  const names = [...url.searchParams.keys()].map((name) => name.toLowerCase());
  if (new Set(names).size < names.length) return 'parameter with more than one value';
  if (names.some((name) => !permitted.includes(name))) return 'non-whitelisted query parameter';
  const value = (name: string) => url.searchParams.get(name) ?? '';
  if (value('Action') !== 'GetCallerIdentity') return 'unexpected action parameter';
  if (!value('X-Amz-SignedHeaders').split(';').includes('x-k8s-aws-id')) return 'client did not sign the id';
  const seconds = Number(value('X-Amz-Expires'));
  if (!(seconds > 0 && seconds <= 900)) return 'invalid X-Amz-Expires';
  const date = value('X-Amz-Date').replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z');
  return Date.parse(date) + 900_000 > now ? url : 'X-Amz-Date parameter is expired';
}
