import type { Grant } from '../domain/grant.ts';
import type { Provider } from '../domain/provider.ts';
import { awsEndpoint } from '../grants/sources/cloud-source.ts';
import { SidekeyError } from '../lib/errors.ts';
import { remedy } from '../lib/hint.ts';
import { valuesOf } from './http/fields.ts';
import type { RequestHead } from './http/head.ts';
import {
  type Holder,
  jwtFormOf,
  type PlaceholderCodes,
  type PlaceholderForm,
  readForm,
} from './placeholders/codes.ts';
import { secretPlaceholder } from './schemes/sigv4/eks.ts';

/**
 * Endpoints at which SDKs of clouds get credentials of a machine. Here they get placeholders, which grant
 * nothing elsewhere (decision 180).
 */

const azure = '/.sidekey/azure';
const google = '/computeMetadata/v1/';
const account = `${google}instance/service-accounts/default/`;

/** Lifetime that SDKs read, in seconds. A placeholder has no end, but its lease has. */
const lifetimeS = 3_600;

/**
 * Returns the target of a request to one of the endpoints; null: it is another request. Google's SDKs request
 * `/` to find out whether there is such an endpoint.
 */
export function cloudTarget({ target, fields }: Pick<RequestHead, 'target' | 'fields'>): string | null {
  const [path] = target.split('?', 1);
  if (path === '/') return isOfGoogle(fields) ? google : null;
  return path === awsEndpoint || path === azure || target.startsWith(google) ? target : null;
}

function isOfGoogle(fields: RequestHead['fields']): boolean {
  return valuesOf(fields, 'metadata-flavor').join() === 'Google';
}

/** The caller of an endpoint, and the grants that it reaches. */
interface CloudCaller {
  readonly holder: Holder;
  readonly grants: readonly Pick<Grant, 'id' | 'name' | 'provider'>[];
  readonly provider: (name: string) => Pick<Provider, 'environment'> | undefined;
  readonly codes: Pick<PlaceholderCodes, 'make'>;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/**
 * Returns the answer of an endpoint: a text, or an object for JSON; null: there is no such page. If the
 * caller has several grants for the endpoint and the query names none (`grant`), the placeholders name none,
 * so that they are valid at the hosts of all.
 *
 * @param head its target is one of `cloudTarget`
 * @throws SidekeyError `not_found`: the caller reaches no grant for the endpoint; `bad_request`
 */
export function cloudAnswer(
  { target, fields }: Pick<RequestHead, 'target' | 'fields'>,
  { holder, grants, provider, codes, now }: CloudCaller,
): string | object | null {
  const [path, written] = target.split('?', 2);
  const query = new URLSearchParams(written);
  const name = query.get('grant');
  /** Returns a function that makes placeholders for the providers with a variable. */
  const minted = (variable: string) => {
    const fits = (grant: CloudCaller['grants'][number]) =>
      (name === null || grant.name === name) &&
      provider(grant.provider)?.environment.some((each) => each.name === variable) === true;
    const [grant, other] = grants.filter(fits);
    if (grant === undefined)
      throw new SidekeyError('not_found', 'No grant that you reach is for this endpoint.', {
        hint: remedy('connect', { provider: null }),
      });
    return (template: string, form: PlaceholderForm | null = readForm(template)) =>
      form === null || other !== undefined ? template : codes.make(form, holder, grant.id);
  };
  const end = Math.floor(now / 1_000) + lifetimeS;
  if (path === awsEndpoint) {
    const make = minted('AWS_CONTAINER_CREDENTIALS_FULL_URI');
    return {
      AccessKeyId: make('ASIASIDE000000000000'),
      SecretAccessKey: secretPlaceholder,
      Token: secretPlaceholder,
      Expiration: `${new Date(end * 1_000).toISOString().slice(0, 19)}Z`,
    };
  }
  if (path === azure) {
    const make = minted('IDENTITY_ENDPOINT');
    const resource = query.get('resource') ?? '';
    const form = jwtFormOf({ iss: 'sidekey', sub: 'placeholder', aud: resource, exp: end });
    const access_token = make(`${form.before}sidekeyPlaceholder${'0'.repeat(25)}`, form);
    return { access_token, expires_on: String(end), resource, token_type: 'Bearer' };
  }
  // A web page cannot set this field in a request to another origin.
  if (!isOfGoogle(fields)) throw new SidekeyError('bad_request', 'The field Metadata-Flavor is missing.');
  const make = minted('GCE_METADATA_HOST');
  const scopes = ['https://www.googleapis.com/auth/cloud-platform'];
  switch (path) {
    case google:
    case `${google}instance`:
      return 'service-accounts/\n';
    case account:
      return { aliases: ['default'], email: 'default', scopes };
    case `${account}email`:
      return 'default';
    case `${account}scopes`:
      return scopes.join('\n');
    case `${account}token`: {
      const access_token = make('ya29.sidekeyPlaceholder0000000000000000000000000000000000000000');
      return { access_token, expires_in: lifetimeS, token_type: 'Bearer' };
    }
    default:
      // Also `identity`: services such as Vault accept an ID token in exchange for other credentials.
      return null;
  }
}
