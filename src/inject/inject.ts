/**
 * The only code that sees a token and a request together. It trusts nothing that was decided before it: the audience
 * is checked again, here, against the authority that the request goes to.
 */
import { SidekeyError } from '../errors.ts';
import { secretText, type Credential, type SealedCredential } from '../grants/credential.ts';
import type { InjectPlan } from '../grants/provider.ts';
import { authorityText, type Authority } from '../policy/authority.ts';
import { matchesPattern } from '../policy/domain-map.ts';
import { isFieldName, isFieldValue, isReservedFieldName } from '../policy/field.ts';
import { isPattern, parsePattern, type DomainPattern } from '../policy/pattern.ts';
import type { BodyPlan } from './body-plan.ts';
import { basicField } from './basic.ts';
import { bearerField } from './bearer.ts';
import { conceal } from './conceal.ts';
import type { Field } from './field.ts';
import { headerField } from './header.ts';
import { pathWith } from './path.ts';
import { queryWith } from './query.ts';
import { secretsOf } from './secrets-of.ts';
import { replacedBySigning, type Signed } from './sigv4/resign.ts';
import { signRequest, type SigningFacts } from './sigv4/sign-request.ts';

/** What is injected, how, and for where. */
export interface Injection {
  readonly sealed: SealedCredential;
  /** Where a token that is one value stands in the request. */
  readonly plan: InjectPlan;
  /** The one authority of the request: what is dialed and verified. */
  readonly authority: Authority;
  /** Whether the domain says that its credential may go over plain `http`. */
  readonly insecure?: boolean;
  /** For plans that sign. */
  readonly signing?: SigningFacts;
}

/** The parts of a request that a credential can stand in. */
export interface Injectable {
  /** Origin-form, with its query. */
  readonly path: string;
  /** Name, value, name, value… as they came in, hop-by-hop fields already taken out. */
  readonly fields: readonly string[];
}

/** The request with the credential in it. */
export interface Injected extends Injectable {
  /** Takes the credential out of response fields, where it stood in the path or the query. Absent elsewhere. */
  readonly conceal?: ((fields: readonly string[]) => readonly string[]) | undefined;
  /** Names, in lower case, of the fields that the credential may stand in. */
  readonly carriedIn?: ReadonlySet<string> | undefined;
  /** What no response may show; the same object as long as the credential is opened. */
  readonly secrets?: { readonly texts: readonly string[] } | undefined;
  /** Writes the body anew while it streams; absent: it goes on as it is. */
  readonly rewriteBody?:
    ((pieces: AsyncIterable<Buffer> | Iterable<Buffer>) => AsyncIterable<Buffer>) | undefined;
  /** How the body is framed then, as `fields` say; absent: as it was. */
  readonly reframed?: BodyPlan | undefined;
}

/**
 * The request with the credential in it. Every field of an injected name is removed (names compare without case), and
 * so is the agent's own `Authorization`, where SDKs put their placeholders. What is injected stands where the first of
 * these stood, else after `Host`, else at the end. All other fields stay as they are.
 *
 * @throws SidekeyError `policy_violation`: the authority is not in the credential's audience, or the credential
 * cannot stand in this request; `insecure_transport`: plain `http` where the domain does not allow it.
 */
export function inject({ path, fields }: Injectable, injection: Injection): Injected {
  const { sealed, plan, authority } = injection;
  const rendered = renderedOf(sealed, plan);
  if (!rendered.audience.some((pattern) => matchesPattern(pattern, authority))) {
    throw new SidekeyError(
      'policy_violation',
      `Wrong audience: the credential of this grant may go to ${sealed.audience.join(', ') || 'no host'}, not to ${authorityText(authority)}.`,
      { hint: 'add the host to the audience of the provider, then add the grant again with --replace' },
    );
  }
  if (authority.scheme !== 'https' && injection.insecure !== true) {
    throw new SidekeyError(
      'insecure_transport',
      `The credential of this grant does not go over plain http to ${authorityText(authority)}.`,
      { hint: 'use https, or set insecure: true on the domain' },
    );
  }

  const signed = signedAs({ path, fields }, injection);
  const injected: string[] = [];
  let at = -1;
  let afterHost = -1;
  for (let index = 0; index + 1 < fields.length; index += 2) {
    const name = fields[index] as string;
    const lower = name.toLowerCase();
    if (rendered.replaced.has(lower)) {
      if (at < 0) at = injected.length;
      continue;
    }
    injected.push(name, fields[index + 1] as string);
    if (lower === 'host') afterHost = injected.length;
  }
  if (at < 0) at = afterHost < 0 ? injected.length : afterHost;
  injected.splice(at, 0, ...(signed?.added ?? rendered.flat));
  return {
    path: signed?.path ?? rendered.pathOf(path),
    fields: injected,
    conceal: signed === null ? rendered.conceal : signed.conceal,
    carriedIn: rendered.replaced,
    secrets: rendered.secrets,
    rewriteBody: signed?.rewriteBody,
  };
}

/** Null: the plan does not sign. */
function signedAs(request: Injectable, { sealed, plan, authority, signing }: Injection): Signed | null {
  if (plan.kind !== 'aws_sigv4') return null;
  if (signing === undefined)
    throw new SidekeyError('internal', 'Nothing was said of the request that is to be signed.');
  return signRequest({ authority, ...request }, sealed, plan, signing);
}

/**
 * What a credential looks like in a request.
 * @throws SidekeyError `policy_violation` where a name or value could not stand in a field line as it is.
 */
export function fieldsFor(credential: Credential, plan: InjectPlan): readonly Field[] {
  const fields = unchecked(credential, plan);
  for (const [name, value] of fields) {
    if (!isFieldName(name) || isReservedFieldName(name)) {
      throw new SidekeyError(
        'policy_violation',
        'The credential of this grant would be carried in a field that is reserved or has no valid name.',
        {
          hint: 'name another field in the inject setting of the provider, or add the grant again with --replace',
        },
      );
    }
    if (!isFieldValue(value)) {
      throw new SidekeyError(
        'policy_violation',
        'The stored credential holds a byte that must not stand in a header field.',
        { hint: 'add the grant again with --replace' },
      );
    }
  }
  return fields;
}

function unchecked(credential: Credential, plan: InjectPlan): readonly Field[] {
  // What is added depends on the request.
  if (plan.kind === 'aws_sigv4') return [];
  switch (credential.type) {
    case 'oauth2':
      if (credential.accessToken === null) {
        throw new SidekeyError('internal', 'The grant has no access token yet.');
      }
      return single(credential.accessToken, plan);
    case 'api_key':
    case 'jwt':
      return single(credential.value, plan);
    case 'basic':
      return [basicField(userNameFor(credential.username, plan), credential.password)];
    case 'headers':
      return credential.headers;
    case 'aws':
      throw new SidekeyError(
        'policy_violation',
        'The keys of this grant sign requests, and are never sent themselves.',
        {
          hint: 'in the provider: inject: aws_sigv4',
        },
      );
  }
}

function userNameFor(own: string, plan: InjectPlan): string {
  return (plan.kind === 'basic' ? plan.forPair : null) ?? own;
}

function single(token: string, plan: Exclude<InjectPlan, { kind: 'aws_sigv4' }>): readonly Field[] {
  switch (plan.kind) {
    case 'bearer':
      return [bearerField(token)];
    case 'header':
      return [headerField(plan.name, plan.prefix, token)];
    case 'basic':
      return [basicField(plan.username, token)];
    case 'path':
    case 'query':
      return [];
  }
}

/** What becomes of a path. A credential of several values brings its own fields, and leaves the path alone. */
function pathFor(credential: Credential, plan: InjectPlan): (path: string) => string {
  if (credential.type === 'basic' || credential.type === 'headers') return (path) => path;
  switch (plan.kind) {
    case 'bearer':
    case 'header':
    case 'basic':
    case 'aws_sigv4':
      return (path) => path;
    case 'path':
      return (path) => pathWith(path, plan.prefixes, secretText(credential));
    case 'query':
      return (path) => queryWith(path, plan.name, secretText(credential));
  }
}

/** Servers repeat the path and the query, and not the fields. */
function concealFor(credential: Credential, plan: InjectPlan): Injected['conceal'] {
  const isInTarget = plan.kind === 'path' || plan.kind === 'query';
  if (!isInTarget || credential.type === 'basic' || credential.type === 'headers') return undefined;
  return (fields) => conceal(fields, secretText(credential));
}

interface Rendered {
  readonly flat: readonly string[];
  /** Names, in lower case, that the agent's own fields lose. */
  readonly replaced: ReadonlySet<string>;
  readonly audience: readonly DomainPattern[];
  readonly pathOf: (path: string) => string;
  readonly conceal: Injected['conceal'];
  readonly secrets: Injected['secrets'];
}

/** Checked once for each opened credential and each way to carry it; gone from memory together with either. */
const renderings = new WeakMap<SealedCredential, WeakMap<InjectPlan, Rendered>>();

function renderedOf(sealed: SealedCredential, plan: InjectPlan): Rendered {
  let byPlan = renderings.get(sealed);
  if (byPlan === undefined) renderings.set(sealed, (byPlan = new WeakMap<InjectPlan, Rendered>()));
  let rendered = byPlan.get(plan);
  if (rendered === undefined) byPlan.set(plan, (rendered = render(sealed, plan)));
  return rendered;
}

function render(sealed: SealedCredential, plan: InjectPlan): Rendered {
  const fields = fieldsFor(sealed.credential, plan);
  return {
    flat: fields.flat(),
    replaced:
      plan.kind === 'aws_sigv4'
        ? replacedBySigning
        : new Set(['authorization', ...fields.map(([name]) => name.toLowerCase())]),
    // An entry that cannot be read matches nothing.
    audience: sealed.audience.map(parsePattern).filter(isPattern),
    pathOf: pathFor(sealed.credential, plan),
    conceal: concealFor(sealed.credential, plan),
    secrets: { texts: secretsOf(sealed.credential) },
  };
}
