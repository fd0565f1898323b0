import { json, form } from './body.ts';
import { own, placeholder } from './client-authorization.ts';
import { cookie } from './cookie.ts';
import { dpop } from './dpop.ts';
import { basic, bearer, header, headers } from './header.ts';
import { hmac } from './hmac.ts';
import { clientCertificate } from './mtls.ts';
import { path } from './path.ts';
import { query } from './query.ts';
import type { AuthScheme } from './scheme.ts';
import { eks } from './sigv4/eks.ts';
import { sigv4 } from './sigv4/sigv4.ts';

/** All schemes, in the order of the config schema. */
export const schemes: readonly AuthScheme[] = [
  bearer,
  placeholder,
  header,
  headers,
  basic,
  path,
  query,
  cookie,
  json,
  form,
  sigv4,
  eks,
  hmac,
  clientCertificate,
  dpop,
  own,
];
