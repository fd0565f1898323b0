import {
  type AwsKeys,
  awsKeysOf,
  type Credential,
  type SealedCredential,
  secretText,
} from '../grants/credential.ts';
import type { Placement } from '../grants/provider.ts';
import type { BodyPlan } from '../http/framing.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Replacement } from '../placeholders/stream.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import { type DomainPattern, isPattern, matchesPattern, parsePattern } from '../policy/domain-map.ts';
import { fieldNameAsRead } from '../policy/text.ts';
import { basicField } from './header.ts';
import { substitutePlaceholders, type DetectedPlaceholders, withoutPlaces } from './placeholders.ts';
import { carrierFor, checkField } from './registry.ts';
import type { Carrier, MessageFacts } from './scheme.ts';
import { type GrantIdentity, lineOfKey } from './single-value.ts';

/**
 * Says of a credential which one it was, and nothing else: the first 16 hex digits of a keyed hash of what is sent.
 *
 * @param mac the vault's keyed hash
 */
export function createFingerprint(mac: (secret: string) => string): (sealed: SealedCredential) => string {
  // The same object stands for the same credential until it is renewed: one hash for each, not for each request.
  const known = new WeakMap<SealedCredential, string>();
  return (sealed) => {
    let fingerprint = known.get(sealed);
    if (fingerprint === undefined) {
      fingerprint = mac(secretText(sealed.credential)).slice(0, 16);
      known.set(sealed, fingerprint);
    }
    return fingerprint;
  };
}

/**
 * The only code that sees a token and a request together. It trusts nothing that was decided before it: the audience
 * is checked again, here, against the authority that the request goes to.
 */

/** What is injected, how, and for where. */
export interface CredentialUse {
  readonly sealed: SealedCredential;
  /** How the credential is carried. */
  readonly placement: Placement;
  /** The one authority of the request: what is dialed and verified. */
  readonly authority: Authority;
  /** Whether the domain says that its credential may go over plain `http`. */
  readonly insecure?: boolean;
  /** For plans that sign, or write in the body. */
  readonly facts?: MessageFacts;
  /** Placeholders, in whose place the credential stands too; absent: there are none. */
  readonly placeholders?: DetectedPlaceholders | undefined;
}

/** The parts of a request that a credential can stand in. */
interface Injectable {
  /** Origin-form, with its query. */
  readonly path: string;
  /** Name, value, name, value… as they came in, hop-by-hop fields already taken out. */
  readonly fields: readonly string[];
}

/** The request with the credential in it. */
export interface AppliedRequest extends Injectable {
  /** Takes the credential out of response fields, where servers show it. Absent: they do not. */
  readonly conceal?: ((fields: readonly string[]) => readonly string[]) | undefined;
  /** Names, in lower case, of the fields that the credential may stand in. */
  readonly carriedIn?: ReadonlySet<string> | undefined;
  /** What no response may show; the same object as long as the credential is opened. */
  readonly secrets?: { readonly texts: readonly string[] } | undefined;
  /** Writes the body anew while it streams; absent: it goes on as it is. */
  readonly rewriteBody?:
    ((pieces: AsyncIterable<Buffer> | Iterable<Buffer>) => AsyncIterable<Buffer>) | undefined;
  /** What takes the place of which texts in the text messages of a WebSocket client; absent: nothing does. */
  readonly messages?: (() => Replacement) | undefined;
  /** How the body is framed then, as `fields` say; absent: as it was. */
  readonly reframed?: BodyPlan | undefined;
  /** Who we are on the connection that it leaves on; absent: nobody that the grant says. */
  readonly identity?: GrantIdentity | undefined;
}

/**
 * The request with the credential in it. Every field of an injected name is removed (see `fieldNameAsRead`), and so is the agent's own `Authorization`, where SDKs put their placeholders. What is injected stands where the first of
 * these stood, else after `Host`, else at the end. All other fields stay as they are.
 *
 * @throws SidekeyError `policy_violation`: the authority is not in the credential's audience, or the credential
 * cannot stand in this request; `insecure_transport`: plain `http` where the domain does not allow it.
 */
export function applyScheme({ path, fields }: Injectable, injection: CredentialUse): AppliedRequest {
  const { sealed, placement, authority, facts } = injection;
  const { audience, into, flat, replaced, gone, secrets } = renderedOf(sealed, placement);
  if (!audience.some((pattern) => matchesPattern(pattern, authority))) {
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

  const part = into?.({ authority, path, fields, facts });
  const added = part?.added ?? [];
  for (let i = 0; i < added.length; i += 2) checkField(added[i]!, added[i + 1]!);
  const own = added.length === 0 ? flat : [...flat, ...added];
  const injected: AppliedRequest = {
    path: part?.path ?? path,
    fields: replacing(part?.fields ?? fields, gone, own),
    conceal: part?.conceal,
    carriedIn: replaced,
    secrets,
    rewriteBody: part?.rewriteBody,
    identity: part?.identity,
  };
  const carried = part?.body === undefined ? injected : withBody(injected, part.body);
  // What signs is never sent, not even in the place of a placeholder.
  const shown = placement.kind === 'hmac' ? withoutPlaces(injection.placeholders) : injection.placeholders;
  return shown === undefined ? carried : substitutePlaceholders(carried, shown, sealed.credential);
}

function replacing(
  fields: readonly string[],
  gone: ReadonlySet<string>,
  own: readonly string[],
): readonly string[] {
  const kept: string[] = [];
  let at = -1;
  let afterHost = -1;
  for (let index = 0; index + 1 < fields.length; index += 2) {
    const name = fields[index] as string;
    const read = fieldNameAsRead(name);
    if (gone.has(read)) {
      if (at < 0) at = kept.length;
      continue;
    }
    kept.push(name, fields[index + 1] as string);
    if (read === 'host') afterHost = kept.length;
  }
  if (at < 0) at = afterHost < 0 ? kept.length : afterHost;
  kept.splice(at, 0, ...own);
  return kept;
}

interface Rendered {
  readonly into: Carrier['into'] | undefined;
  readonly flat: readonly string[];
  /** Names, in lower case, that the agent's own fields lose. */
  readonly replaced: ReadonlySet<string>;
  /** These, as `fieldNameAsRead` has them. */
  readonly gone: ReadonlySet<string>;
  readonly audience: readonly DomainPattern[];
  readonly secrets: AppliedRequest['secrets'];
}

/** Checked once for each opened credential and each way to carry it; gone from memory together with either. */
const renderings = new WeakMap<SealedCredential, WeakMap<Placement, Rendered>>();

function renderedOf(sealed: SealedCredential, plan: Placement): Rendered {
  let byPlan = renderings.get(sealed);
  if (byPlan === undefined) renderings.set(sealed, (byPlan = new WeakMap<Placement, Rendered>()));
  let rendered = byPlan.get(plan);
  if (rendered === undefined) byPlan.set(plan, (rendered = render(sealed, plan)));
  return rendered;
}

function render(sealed: SealedCredential, plan: Placement): Rendered {
  const { fields, replaces = [], into, keepsAuthorization } = carrierFor(sealed, plan);
  for (const [name, value] of fields) checkField(name, value);
  const replaced = new Set([
    ...(keepsAuthorization === true ? [] : ['authorization']),
    ...fields.map(([name]) => name.toLowerCase()),
    ...replaces,
  ]);
  return {
    flat: fields.flat(),
    replaced,
    gone: new Set([...replaced].map(fieldNameAsRead)),
    // An entry that cannot be read matches nothing.
    audience: sealed.audience.map(parsePattern).filter(isPattern),
    into,
    secrets: { texts: secretsOf(sealed.credential) },
  };
}

/**
 * The texts of a credential that nobody may see who did not bring them; each a character a byte. Everything that is sealed
 * counts, but for the user name of a password: services show it in what they are asked for.
 */
export function secretsOf(credential: Credential): readonly string[] {
  switch (credential.type) {
    case 'aws':
      return ofKeys(credential);
    case 'oauth2': {
      const keys = awsKeysOf(credential);
      if (keys !== null) return ofKeys(keys);
      return credential.dpop === undefined
        ? [secretText(credential)]
        : [secretText(credential), credential.dpop.key.d];
    }
    case 'api_key':
    case 'jwt':
      return [secretText(credential)];
    case 'basic': {
      const { username, password } = credential;
      const [, value] = basicField(username, password);
      const basic = withoutScheme(value);
      if (isFiller(password)) return [asBytes(username), basic];
      // Which of the two is the secret cannot be told of a short one.
      return password.length < 8 ? [asBytes(username), asBytes(password), basic] : [asBytes(password), basic];
    }
    case 'headers':
      return credential.headers.map(([, value]) => withoutScheme(value));
    case 'client_certificate':
      return [lineOfKey(credential)];
  }
}

/** The token of a session leaves in a field. The secret key never leaves, but to who was given it elsewhere. */
function ofKeys({ secretAccessKey, sessionToken }: AwsKeys): readonly string[] {
  return sessionToken === null ? [secretAccessKey] : [secretAccessKey, sessionToken];
}

/** `Bot TOKEN` is echoed as `TOKEN` too. */
function withoutScheme(value: string): string {
  return /^[A-Za-z][A-Za-z0-9-]* +(\S.*)$/.exec(value)?.[1] ?? value;
}

const fillers: ReadonlySet<string> = new Set([
  'api_token',
  'x-oauth-basic',
  'x-token-auth',
  'password',
  'unused',
]);

/** What stands where a password would: the user name is the key then. */
function isFiller(password: string): boolean {
  return password.length < 2 || fillers.has(password);
}

/** Basic sends UTF-8 (RFC 7617 §2.1). */
function asBytes(text: string): string {
  return Buffer.from(text).toString('latin1');
}

/** What frames a body, and what sums it up (RFC 9530, RFC 1864): it is said of the one that came. */
const ofBody: ReadonlySet<string> = new Set([
  'content-length',
  'transfer-encoding',
  'trailer',
  'content-md5',
  'digest',
  'content-digest',
  'repr-digest',
]);

/** A request with another body, which is whole. The one that came is still read to its end: so much is counted, and kept. */
export function withBody(request: AppliedRequest, body: Buffer): AppliedRequest {
  const reframed: BodyPlan = { kind: 'length', bytes: body.length };
  const fields = [...withoutSums(request.fields), 'Content-Length', String(body.length)];
  return { ...request, fields, reframed, rewriteBody: (pieces) => inPlaceOf(pieces, body) };
}

/** A request whose body is written anew while it streams: nobody knows how long it will be. */
export function streaming(
  request: AppliedRequest,
  rewriteBody: (pieces: AsyncIterable<Buffer> | Iterable<Buffer>) => AsyncIterable<Buffer>,
): AppliedRequest {
  const fields = [...withoutSums(request.fields), 'Transfer-Encoding', 'chunked'];
  return { ...request, fields, reframed: { kind: 'chunked' }, rewriteBody };
}

function withoutSums(fields: readonly string[]): readonly string[] {
  return fields.filter((_text, i) => !ofBody.has(fields[i - (i % 2)]!.toLowerCase()));
}

async function* inPlaceOf(
  pieces: AsyncIterable<Buffer> | Iterable<Buffer>,
  body: Buffer,
): AsyncGenerator<Buffer> {
  for await (const _ of pieces);
  yield body;
}
