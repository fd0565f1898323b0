import { type Credential, type SealedCredential, secretText } from '../../domain/credential.ts';
import type { Placement } from '../../domain/provider.ts';
import { withoutFields } from '../http/fields.ts';
import { fieldSection } from '../http/h1/write.ts';
import type { BodyFraming } from '../http/framing.ts';
import { SidekeyError } from '../../lib/errors.ts';
import type { Hint } from '../../lib/hint.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import { type DomainPattern, matchesAnyPattern, patternsOf } from '../policy/domain-map.ts';
import { FieldNames, isFieldName, isFieldValue, isReservedFieldName } from '../policy/text.ts';
import { secretsOf } from './credential.ts';
import { schemeOf } from './placement.ts';
import {
  type AppliedRequest,
  type Field,
  type MessageFacts,
  type PreparedCredential,
  refused,
} from './scheme.ts';

type AllowHost = (host: string) => Hint;

/** A credential, its placement and its destination. */
export interface CredentialUse {
  readonly sealed: SealedCredential;
  readonly placement: Placement;
  /** The one authority of the request, which is connected to and verified. */
  readonly authority: Authority;
  /** Returns the action after which the credential may be sent to a host. */
  readonly allowHost?: AllowHost;
  /** True if the domain allows its credential over plain `http`. */
  readonly allowPlainHttp?: boolean;
  /** Facts of the message, for schemes that sign it or write into the body. */
  readonly facts?: MessageFacts;
  /** True if another credential is the main one: the client's `Authorization` is left to that. */
  readonly isAdditional?: true;
}

/**
 * Puts a credential into a request. This is the only code that has both, and it checks the audience again,
 * against the authority that the request is sent to.
 *
 * Removes all fields of the names that the scheme writes (see `fieldNameAsRead`), and the client's own
 * `Authorization`, where SDKs put placeholders. The scheme's fields take the place of the first removed one,
 * else follow `Host`, else come last. All other fields stay.
 *
 * @param request origin-form path and fields, without hop-by-hop fields
 * @param planned keeps the result for the next request of the connection
 * @throws SidekeyError `policy_violation` if the authority is not in the audience, or the credential is not
 * valid in this request; `insecure_transport` for plain `http` where the domain does not allow it
 */
export function applyScheme(
  { path, fields }: Pick<AppliedRequest, 'path' | 'fields'>,
  { sealed, placement, authority, allowHost, facts, allowPlainHttp, isAdditional }: CredentialUse,
  planned?: PlannedFields,
): AppliedRequest {
  const ready = preparedFor(sealed, placement);
  const { audience, apply, fixed, secrets } = ready;
  const { replaced, removed } = isAdditional === true ? ready.additional : ready;
  if (!matchesAnyPattern(audience, authority)) throw wrongAudience(sealed, authority, allowHost);
  if (authority.scheme !== 'https' && allowPlainHttp !== true) {
    const sentence = `The credential of this grant does not go over plain http to ${authorityText(authority)}.`;
    const hint = 'use https, or set allow_plain_http: true on the domain';
    throw new SidekeyError('insecure_transport', sentence, { hint });
  }

  const changes = apply?.({ authority, path, fields, facts });
  const added = changes?.added ?? [];
  for (let i = 0; i < added.length; i += 2) checkField(added[i]!, added[i + 1]!);
  const own = added.length === 0 ? fixed : [...fixed, ...added];
  const applied: AppliedRequest = {
    path: changes?.path ?? path,
    fields: withFields(changes?.fields ?? fields, removed, own),
    conceal: changes?.conceal,
    carriedIn: replaced,
    secrets: changes?.secrets ?? secrets,
    rewriteBody: changes?.rewriteBody,
    identity: changes?.identity,
  };
  if (apply === undefined) planned?.keep(fields, { sealed, placement, authority }, applied);
  return changes?.body === undefined ? applied : withBody(applied, changes.body);
}

/** @throws SidekeyError `policy_violation`: the authority is not in the credential's audience */
export function checkAudience(sealed: SealedCredential, authority: Authority, allowHost: AllowHost): void {
  if (!matchesAnyPattern(patternsOf(sealed.audience), authority))
    throw wrongAudience(sealed, authority, allowHost);
}

function wrongAudience(
  sealed: SealedCredential,
  authority: Authority,
  allowHost: AllowHost | undefined,
): SidekeyError {
  const host = authorityText(authority);
  return refused(
    `Wrong audience: the credential of this grant may go to ${sealed.audience.join(', ') || 'no host'}, not to ${host}.`,
    allowHost?.(host) ??
      `add ${host} to the audience of the provider, under "providers" in the config file: sidekey config edit`,
  );
}

/** A request with the credential in it, apart from its path. */
export type AppliedFields = Omit<AppliedRequest, 'path'>;

/**
 * Fields of a connection's last request with its credential, if the scheme writes the same into each request.
 * They depend only on the received fields, the credential, the placement and the authority.
 */
export class PlannedFields {
  #received: readonly string[] | null = null;
  #sealed: SealedCredential | null = null;
  #placement: Placement | null = null;
  #authority: Authority | null = null;
  #applied: AppliedFields | null = null;
  #section: Buffer | null = null;

  /** Returns the stored fields for identical inputs; null if none. Plain `http` is never stored. */
  find(
    received: readonly string[],
    sealed: SealedCredential,
    placement: Placement,
    authority: Authority,
  ): AppliedFields | null {
    const isSame =
      received === this.#received &&
      sealed === this.#sealed &&
      placement === this.#placement &&
      authority === this.#authority;
    return isSame ? this.#applied : null;
  }

  keep(
    received: readonly string[],
    { sealed, placement, authority }: Pick<CredentialUse, 'sealed' | 'placement' | 'authority'>,
    applied: AppliedFields,
  ): void {
    // The domain may forbid plain `http` for the next request.
    if (authority.scheme !== 'https') return;
    this.#received = received;
    this.#sealed = sealed;
    this.#placement = placement;
    this.#authority = authority;
    this.#applied = applied;
    this.#section = null;
  }

  /** Returns the field lines and the final empty line; null if these are not the stored fields. */
  section(fields: readonly string[]): Buffer | null {
    if (fields !== this.#applied?.fields) return null;
    return (this.#section ??= fieldSection(fields));
  }
}

function withFields(
  fields: readonly string[],
  removed: FieldNames,
  own: readonly string[],
): readonly string[] {
  const { length } = fields;
  let first = -1;
  let count = 0;
  let afterHost = length;
  for (let i = 0; i < length; i += 2) {
    const name = fields[i]!;
    if (removed.has(name)) {
      if (first < 0) first = i;
      count += 2;
    } else if (name.length === 4 && name.toLowerCase() === 'host') afterHost = i + 2;
  }
  const ownAt = first < 0 ? afterHost : first;
  // A copy has the right length where as many fields come as go.
  const all = fields.slice();
  let to = ownAt;
  for (let i = 0; i < own.length; i += 1) all[to++] = own[i]!;
  for (let i = ownAt; i < length; i += 2) {
    if (count > 0 && removed.has(fields[i]!)) continue;
    all[to++] = fields[i]!;
    all[to++] = fields[i + 1]!;
  }
  if (all.length > to) all.length = to;
  return all;
}

interface Prepared extends Pick<PreparedCredential, 'apply'> {
  readonly fixed: readonly string[];
  /** Names, in lower case, of the client's fields that are removed. */
  readonly replaced: ReadonlySet<string>;
  /** Names of `replaced`, in all spellings that some server reads as them. */
  readonly removed: FieldNames;
  /** `replaced` and `removed` for a credential that is not the main one. */
  readonly additional: Pick<Prepared, 'replaced' | 'removed'>;
  readonly audience: readonly DomainPattern[];
  readonly secrets: AppliedRequest['secrets'];
}

/** Prepared credentials by opened credential and placement; freed with either. */
const prepared = new WeakMap<SealedCredential, WeakMap<Placement, Prepared>>();

/** Prepares a credential once for each placement. @throws SidekeyError `policy_violation` */
export function preparedFor(sealed: SealedCredential, placement: Placement): Prepared {
  let byPlacement = prepared.get(sealed);
  if (byPlacement === undefined) prepared.set(sealed, (byPlacement = new WeakMap<Placement, Prepared>()));
  let known = byPlacement.get(placement);
  if (known === undefined) byPlacement.set(placement, (known = prepare(sealed, placement)));
  return known;
}

function prepare(sealed: SealedCredential, placement: Placement): Prepared {
  const scheme = schemeOf(placement);
  const { fields, replaces = [], apply, keepsAuthorization } = scheme.prepare(sealed, placement);
  for (const [name, value] of fields) checkField(name, value);
  const own = [...fields.map(([name]) => name.toLowerCase()), ...replaces];
  const replaced = new Set([...(keepsAuthorization === true ? [] : ['authorization']), ...own]);
  return {
    fixed: fields.flat(),
    replaced,
    removed: new FieldNames(replaced),
    additional: { replaced: new Set(own), removed: new FieldNames(own) },
    audience: patternsOf(sealed.audience),
    ...(apply === undefined ? {} : { apply }),
    secrets: { texts: scheme.secrets?.(sealed.credential) ?? secretsOf(sealed.credential) },
  };
}

/**
 * Returns the fields of a credential that are the same in every request.
 *
 * @throws SidekeyError `policy_violation` if the scheme does not accept the credential, or a name or value is
 * not valid in a field line
 */
export function fieldsFor(credential: Credential, placement: Placement): readonly Field[] {
  const { fields } = schemeOf(placement).prepare({ credential, audience: [] }, placement);
  for (const [name, value] of fields) checkField(name, value);
  return fields;
}

/** @throws SidekeyError `policy_violation` if a credential's field cannot have this name or value */
function checkField(name: string, value: string): void {
  if (!isFieldName(name) || isReservedFieldName(name)) {
    throw refused(
      'The credential of this grant would be carried in a field that is reserved or has no valid name.',
      'name another field in the inject setting of the provider, or add the grant again with --replace',
    );
  }
  if (!isFieldValue(value)) {
    const sentence = 'The stored credential has a byte that a header field cannot have.';
    throw refused(sentence, 'add the grant again with --replace');
  }
}

/**
 * Returns a function that identifies a credential by the first 16 hex digits of a keyed hash of its secret.
 *
 * @param mac the vault's keyed hash
 */
export function createFingerprint(mac: (secret: string) => string): (sealed: SealedCredential) => string {
  // A credential is the same object until it is renewed, so it is hashed once.
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

/** Fields that frame or digest the received body (RFC 9110, RFC 9530, RFC 1864). */
const bodyFields: ReadonlySet<string> = new Set([
  'content-length',
  'transfer-encoding',
  'trailer',
  'content-md5',
  'digest',
  'content-digest',
  'repr-digest',
]);

/** Replaces the body. The received one is still read to its end, so that it is counted and kept. */
export function withBody(request: AppliedRequest, body: Buffer): AppliedRequest {
  const reframed: BodyFraming = { kind: 'length', bytes: body.length };
  const fields = [...withoutBodyFields(request.fields), 'Content-Length', String(body.length)];
  return { ...request, fields, reframed, rewriteBody: (pieces) => inPlaceOf(pieces, body) };
}

/** Rewrites the body while it streams. Its new length is unknown. */
export function withStreamedBody(
  request: AppliedRequest,
  rewriteBody: (pieces: AsyncIterable<Buffer> | Iterable<Buffer>) => AsyncIterable<Buffer>,
): AppliedRequest {
  const fields = [...withoutBodyFields(request.fields), 'Transfer-Encoding', 'chunked'];
  return { ...request, fields, reframed: { kind: 'chunked' }, rewriteBody };
}

function withoutBodyFields(fields: readonly string[]): readonly string[] {
  return withoutFields(fields, (name) => bodyFields.has(name));
}

async function* inPlaceOf(
  pieces: AsyncIterable<Buffer> | Iterable<Buffer>,
  body: Buffer,
): AsyncGenerator<Buffer> {
  for await (const _ of pieces);
  yield body;
}
