import { overridesMethod } from '../policy/method-override.ts';
import { overridesPath } from '../policy/path.ts';
import { disguisedField } from '../policy/text.ts';

/**
 * The header rules: what of a message is for the proxy alone, and what goes on. Pure, over raw fields.
 */

/** Field names and values in turn, as they stood in the message: order, case and repeats kept. */
export type RawFields = readonly string[];

/** Fields that concern one connection (RFC 9110 §7.6.1, RFC 9112 §6.1 and §9.6), in lower case. */
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
 * Fields that would route or authenticate a message, or say what its body is, if a reader took trailers for fields of the
 * head (RFC 9110 §6.5.1), and those of one connection: no trailer of such a name goes on. In lower case; `proxy-*` stands
 * for all that begin so. One that would frame the message is refused by the codec when it is read.
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

/**
 * Never let `Connection` take these out: they frame or address the message, a credential stands in them, or rules have
 * judged the message by them.
 */
export const neverNominated: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'transfer-encoding',
  'authorization',
  'trailer',
  'content-type',
  'content-encoding',
]);

/** Asked of us and answered by us: they never leave. `expect` is answered by the proxy itself. */
function isForProxy(name: string): boolean {
  return name.startsWith('proxy-') || name.startsWith('sidekey-') || name === 'expect' || name === 'host';
}

/** The values of one field, in order. `name` in lower case. */
export function valuesOf(fields: RawFields, name: string): string[] {
  const values: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    const candidate = fields[i]!;
    if (candidate.length === name.length && candidate.toLowerCase() === name) values.push(fields[i + 1]!);
  }
  return values;
}

/**
 * The request fields that go upstream, `Host` first and set to the one authority. What frames the body stays where it
 * stood: the body goes on as it was framed.
 *
 * @param takesTrailers whether `TE` goes on too: in HTTP/2 it says `trailers` and nothing else (RFC 9113 §8.2.2)
 */
export function requestFields(fields: RawFields, host: string, takesTrailers = false): string[] {
  return ['Host', host, ...endToEnd(fields, isForProxy, takesTrailers ? framingAndTe : framingAlone)];
}

const framingAlone: readonly string[] = ['transfer-encoding'];
const framingAndTe: readonly string[] = ['transfer-encoding', 'te'];

const staysBehind = new Set<string>([...notInTrailers, ...framingFields]);

/** The trailers of a request that go upstream. */
export function trailerFields(trailers: RawFields): string[] {
  return endToEnd(
    trailers,
    (name) =>
      staysBehind.has(name) ||
      name.startsWith('proxy-') ||
      name.startsWith('sidekey-') ||
      // Rules have judged the request by its method and its path, and it is on its way when its trailers come.
      overridesMethod(name) ||
      overridesPath(name) ||
      disguisedField(name) !== null,
  );
}

/**
 * The fields of a response that do not go to the client, besides those of one connection; `proxy-*` stands for all that
 * begin so. What only a proxy may say is dropped, so that no upstream can speak as Sidekey; on domains that carry a grant
 * so is `Alt-Svc`, which would lead a client around the proxy (RFC 7838).
 */
export function notFromUpstream(carriesGrant: boolean): readonly string[] {
  return carriesGrant ? ['proxy-*', 'sidekey-*', 'alt-svc'] : ['proxy-*', 'sidekey-*'];
}

/** What is left of the fields of a response without those. */
export function responseFields(fields: RawFields, carriesGrant: boolean): string[] {
  return endToEnd(
    fields,
    (name) =>
      name.startsWith('proxy-') || name.startsWith('sidekey-') || (carriesGrant && name === 'alt-svc'),
  );
}

/** @param keeps names that go on, though they are of one connection */
function endToEnd(
  fields: RawFields,
  isDropped: (name: string) => boolean,
  keeps: readonly string[] = [],
): string[] {
  const nominated = nominatedBy(valuesOf(fields, 'connection'));
  const kept: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase();
    const isOfThisHop = hopByHop.has(name) && !keeps.includes(name);
    if (isOfThisHop || isDropped(name) || nominated?.has(name) === true) continue;
    kept.push(fields[i]!, fields[i + 1]!);
  }
  return kept;
}

/**
 * Returns the names, in lower case, that `Connection` nominates as hop-by-hop (RFC 9110 §7.6.1); null: none.
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

/** What lets a response be a part, or compressed: in lower case. */
const asksForLess = new Set(['accept-encoding', 'range', 'if-range', 'a-im', 'grpc-accept-encoding']);

/**
 * The fields of a request whose response is looked into: it is asked for as a whole and without a coding, so that it can be
 * passed on as it came.
 */
export function plainRequest(fields: RawFields): string[] {
  const kept = fields.filter((_text, i) => !asksForLess.has(fields[i - (i % 2)]!.toLowerCase()));
  return [...kept, 'Accept-Encoding', 'identity'];
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A field for people: its bytes came as one character each (latin1), and are UTF-8 where they can be. */
export function readText(field: string): string {
  try {
    return utf8.decode(Buffer.from(field, 'latin1'));
  } catch {
    return field;
  }
}
