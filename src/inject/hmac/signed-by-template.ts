import { createHmac } from 'node:crypto';
import type { Credential } from '../../grants/credential.ts';
import type { HmacPlan } from '../../grants/provider.ts';
import { fieldNameAsRead } from '../../policy/field.ts';
import { fillTemplate, namesIn, type Template } from '../../policy/template.ts';
import { factsOf, type CarriedRequest, type Carrier, type Part } from '../carrier.ts';
import { conceal } from '../conceal.ts';
import { forgivingName } from '../forgiving-name.ts';
import { parameter } from '../parameters.ts';
import { queryOf } from '../query.ts';
import { readTemplate } from '../read-template.ts';
import { namesOf } from '../../policy/hmac-names.ts';
import { signingSecret, type SigningSecret } from './signing-secret.ts';
import { refused } from '../refused.ts';
import { signedValues } from './signed-values.ts';

/**
 * A secret that signs each request, by the provider's template: it is never sent.
 *
 * @throws SidekeyError `policy_violation`: the credential is none that signs so
 */
export function signedByTemplate(plan: HmacPlan, credential: Credential): Carrier {
  const secret = signingSecret(credential, plan);
  if (secret.key === null && namesOf(plan).includes('key')) {
    throw refused(
      'The provider of this grant sends {key}, and its credential is a secret alone.',
      'add the grant again with --replace: {"type":"basic","username":"KEY","password":"SECRET"}',
    );
  }
  const [headers, query] = [plan.headers.map(read), plan.query.map(read)];
  const signing = { plan, secret, sign: readTemplate(plan.sign), headers, query };
  const replaces = headers.map(({ name }) => name.toLowerCase());
  const gone = new Set(['authorization', ...replaces].map(fieldNameAsRead));
  return { fields: [], replaces, into: (request) => sign(request, gone, signing) };
}

interface Signing {
  readonly plan: HmacPlan;
  readonly secret: SigningSecret;
  readonly sign: Template;
  readonly headers: readonly Named[];
  readonly query: readonly Named[];
}

/** A field or a parameter that is added. */
interface Named {
  readonly name: string;
  readonly template: Template;
  /** Whether the signature is in it: then it is not in what is signed. */
  readonly hasSignature: boolean;
}

function read([name, written]: readonly [string, string]): Named {
  const template = readTemplate(written);
  return { name, template, hasSignature: namesIn(template).includes('signature') };
}

function sign(request: CarriedRequest, gone: ReadonlySet<string>, signing: Signing): Part {
  const { plan, secret, headers, query } = signing;
  const kept = request.fields.filter(
    (_, index) => !gone.has(fieldNameAsRead(request.fields[index - (index % 2)]!)),
  );
  const values = signedValues(plan, secret.key, request.authority, factsOf(request));
  const plain = filled(headers, false, values.sent);
  const path = withParameters(withoutParameters(request.path, query), filled(query, false, values.sent));
  const bytesOf = values.of({ path, fields: [...kept, ...plain.flat()] });
  const hmac = createHmac(plan.algorithm, secret.secret);
  for (const part of signing.sign) hmac.update('text' in part ? part.text : bytesOf(part.name));
  const signature = hmac.digest(plan.encoding);

  const valueOf = (name: string) => (name === 'signature' ? signature : values.sent(name));
  const inQuery = filled(query, true, valueOf);
  return {
    path: withParameters(path, inQuery),
    added: [...plain, ...filled(headers, true, valueOf)].flat(),
    // A redirect repeats the query: whoever is sent there would have a request that is signed.
    ...(inQuery.length === 0 ? {} : { conceal: (answered) => conceal(answered, { texts: [signature] }) }),
  };
}

type Filled = readonly (readonly [name: string, value: string])[];

function filled(all: readonly Named[], withSignature: boolean, valueOf: (name: string) => string): Filled {
  return all
    .filter(({ hasSignature }) => hasSignature === withSignature)
    .map(({ name, template }) => [name, fillTemplate(template, valueOf)]);
}

/** What the client wrote under a name that is added is not what is signed. */
function withoutParameters(path: string, added: readonly Named[]): string {
  if (added.length === 0) return path;
  const names = new Set(added.map(({ name }) => forgivingName(name)));
  const kept = queryOf(path, names).filter(({ name }) => !names.has(name));
  const [bare = ''] = path.split('?', 1);
  return kept.length === 0 ? bare : `${bare}?${kept.map(({ written }) => written).join('&')}`;
}

function withParameters(path: string, added: Filled): string {
  if (added.length === 0) return path;
  const written = added.map(([name, value]) => parameter(name, value)).join('&');
  return `${path}${path.includes('?') ? '&' : '?'}${written}`;
}
