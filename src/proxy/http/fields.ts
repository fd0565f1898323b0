import { overridesMethod } from '../policy/method-override.ts';
import { overridesPath } from '../policy/path.ts';
import { disguisedField, FieldNames } from '../policy/text.ts';

/** The header rules: the fields that the proxy removes from a message, and those that it forwards. */

/** Field names and values in turn, with the order, case and repeats of the message. */
export type RawFields = readonly string[];

/** Hop-by-hop fields (RFC 9110 §7.6.1, RFC 9112 §6.1 and §9.6), in lower case. */
export const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]);

/**
 * Trailers to remove: hop-by-hop fields, and fields that route, authenticate or describe a message, in case a
 * reader merges trailers into the head (RFC 9110 §6.5.1). Lower case; `proxy-*` is a prefix. The HTTP/1.1
 * reader refuses `framingFields` of requests itself.
 */
export const notInTrailers = [
  'keep-alive',
  'proxy-*',
  'te',
  'trailer',
  'http2-settings',
  'content-type',
  'content-encoding',
  'host',
  'expect',
  'authorization',
  'dpop',
  'cookie',
  'set-cookie',
  'content-range',
  'range',
  'if-range',
  'sidekey-*',
] as const;

/** Fields that frame a message or end its connection. A trailer of such a name is refused or removed. */
export const framingFields = [
  'content-length',
  'transfer-encoding',
  'connection',
  'proxy-connection',
  'upgrade',
] as const;

/** Fields that `Connection` cannot nominate: for framing, addressing, credentials, or a rule's decision. */
const neverNominated: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'transfer-encoding',
  'authorization',
  'trailer',
  'content-type',
  'content-encoding',
]);

/** Reports whether a request field is for the proxy. The proxy answers `Expect` and sets `Host` itself. */
function isForProxy(name: string): boolean {
  return name.startsWith('proxy-') || name.startsWith('sidekey-') || name === 'expect' || name === 'host';
}

/** Returns the values of one field, in order. `name` in lower case. */
export function valuesOf(fields: RawFields, name: string): string[] {
  const values: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    const candidate = fields[i]!;
    if (candidate.length === name.length && candidate.toLowerCase() === name) values.push(fields[i + 1]!);
  }
  return values;
}

/**
 * Returns the request fields to forward, with `Host` first. The fields that frame the body keep their places.
 *
 * @param takesTrailers forwards `TE`, which in HTTP/2 is `trailers` (RFC 9113 §8.2.2)
 */
export function requestFields(fields: RawFields, host: string, takesTrailers = false): string[] {
  return ['Host', host, ...endToEnd(fields, isForProxy, takesTrailers ? framingAndTe : framingAlone)];
}

const framingAlone: readonly string[] = ['transfer-encoding'];
const framingAndTe: readonly string[] = ['transfer-encoding', 'te'];

const removedTrailers = new Set<string>([...notInTrailers, ...framingFields]);

/** Returns the request trailers to forward. */
export function trailerFields(trailers: RawFields): string[] {
  return endToEnd(
    trailers,
    (name) =>
      removedTrailers.has(name) ||
      name.startsWith('proxy-') ||
      name.startsWith('sidekey-') ||
      // The rules decided on the method and path of the head.
      overridesMethod(name) ||
      overridesPath(name) ||
      disguisedField(name) !== null,
  );
}

/**
 * Returns the names of response fields to remove besides the hop-by-hop ones; `proxy-*` is a prefix. No
 * upstream can send `sidekey-*`. With a grant, `Alt-Svc` would lead the client around the proxy (RFC 7838).
 */
export function notFromUpstream(carriesGrant: boolean): readonly string[] {
  return carriesGrant ? ['proxy-*', 'sidekey-*', 'alt-svc'] : ['proxy-*', 'sidekey-*'];
}

/** Returns the response fields to forward. */
export function responseFields(fields: RawFields, carriesGrant: boolean): string[] {
  return endToEnd(
    fields,
    (name) =>
      name.startsWith('proxy-') || name.startsWith('sidekey-') || (carriesGrant && name === 'alt-svc'),
  );
}

/** @param keeps hop-by-hop fields to keep */
function endToEnd(
  fields: RawFields,
  isDropped: (name: string) => boolean,
  keeps: readonly string[] = [],
): string[] {
  const nominated = nominatedBy(valuesOf(fields, 'connection'));
  return withoutFields(fields, (name) => {
    const isHopByHop = hopByHop.has(name) && !keeps.includes(name);
    return isHopByHop || isDropped(name) || nominated?.has(name) === true;
  });
}

/** Returns the fields without those that the predicate matches. `name` is passed in lower case. */
export function withoutFields(
  fields: RawFields,
  isRemoved: (name: string, value: string) => boolean,
): string[] {
  const remaining: string[] = [];
  for (let i = 0; i < fields.length; i += 2)
    if (!isRemoved(fields[i]!.toLowerCase(), fields[i + 1]!)) remaining.push(fields[i]!, fields[i + 1]!);
  return remaining;
}

/**
 * Returns the names, in lower case, that `Connection` nominates as hop-by-hop (RFC 9110 §7.6.1), or null.
 *
 * @param values of all `Connection` fields
 */
export function nominatedBy(values: readonly string[]): ReadonlySet<string> | null {
  let nominated: Set<string> | null = null;
  for (const value of values) {
    const options = value.toLowerCase();
    if (options === 'keep-alive' || options === 'close') continue;
    for (const option of options.split(',')) {
      const name = option.trim();
      if (name !== '' && !neverNominated.has(name)) (nominated ??= new Set()).add(name);
    }
  }
  return nominated;
}

/**
 * Request fields that allow a partial or compressed response. Apache and Azure have other names for `Range`.
 */
const asksForLess = new FieldNames(
  'accept-encoding range request-range x-ms-range if-range a-im grpc-accept-encoding'.split(' '),
);

/** Returns request fields that demand a whole, uncoded response, so that it can be searched. */
export function plainRequest(fields: RawFields): string[] {
  return [...withoutFields(fields, (name) => asksForLess.has(name)), 'Accept-Encoding', 'identity'];
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Decodes a latin1 field value as UTF-8. Returns invalid UTF-8 unchanged. */
export function readText(field: string): string {
  try {
    return utf8.decode(Buffer.from(field, 'latin1'));
  } catch {
    return field;
  }
}

/** A challenge (RFC 9110 §11.6.1). Names are in lower case. Of two equal names, the first counts. */
export interface Challenge {
  readonly scheme: string;
  readonly parameters: ReadonlyMap<string, string>;
}

/** Maximum number of characters to read of a field. */
const maxLength = 8_192;

const token = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const equals = /[ \t]*=[ \t]*/y;
const quoted = /"((?:[^"\\]|\\[^])*)"/y;
/** A token68, as Negotiate sends it, before a comma or the end. */
const token68 = /[ \t]+[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y;
const between = /[ \t,]*/y;

/** Parses one `WWW-Authenticate` field in linear time, up to the first error. Commas are optional. */
export function challengesIn(field: string): readonly Challenge[] {
  const text = field.slice(0, maxLength);
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match !== null) at = pattern.lastIndex;
    return match;
  };
  for (;;) {
    take(between);
    const name = take(token)?.[0].toLowerCase();
    if (name === undefined) return challenges;
    if (take(equals) === null) {
      challenges.push({ scheme: name, parameters: new Map() });
      take(token68);
      continue;
    }
    const [, inQuotes] = take(quoted) ?? [];
    const value = inQuotes?.replace(/\\([^])/g, '$1') ?? take(token)?.[0];
    const parameters = challenges.at(-1)?.parameters;
    if (value === undefined || parameters === undefined) return challenges;
    if (!parameters.has(name)) parameters.set(name, value);
  }
}
