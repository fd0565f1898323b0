import { FieldNames, percentDecoded } from './text.ts';

/** Header fields that some servers and gateways treat as the method, instead of the request line. */
const fieldNames = new FieldNames([
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
  // Gateways that call an authorization service (nginx, Traefik) send the method in these.
  'x-original-method',
  'x-forwarded-method',
]);

/** Reports whether some servers treat the header field as the method. */
export function overridesMethod(fieldName: string): boolean {
  return fieldNames.has(fieldName);
}

/** A parameter of a query or form: its decoded name and value. */
export type Parameter = readonly [name: string, value: string];

/** A method that a parameter names. */
export interface NamedMethod {
  readonly method: string;
  /** The name of the parameter in the documentation of services. */
  readonly parameter: string;
}

/** Methods that a service may prefer to the request line's, or the part of the request that hides them. */
type MethodOverride =
  { readonly refused: string } | { readonly refused: null; readonly methods: readonly NamedMethod[] };

const none: MethodOverride = { refused: null, methods: [] };

/** The parts of `RequestFacts` that can name a method. */
interface MethodSources {
  readonly path: string;
  readonly methodFields: readonly string[];
  readonly methodParameters: readonly string[];
  readonly body: { readonly form?: readonly Parameter[] | null } | null;
}

/**
 * Finds methods that some servers use instead of that of the request line. Refuses fields and parameters
 * without another meaning. The value of an ambiguous parameter (`?method=flickr.photos.search`) counts if it
 * is a method name.
 *
 * @param ruled methods that rules of the domain name
 */
export function methodOverride(
  { path, methodFields, methodParameters, body }: MethodSources,
  ruled: ReadonlySet<string>,
): MethodOverride {
  if (methodFields.length > 0) return { refused: methodFields[0]! };
  const mark = path.indexOf('?');
  const form = body?.form;
  if (form === undefined && (mark < 0 || (methodParameters.length === 0 && !mayName(path, mark + 1))))
    return none;
  if (form === null) return { refused: 'a form that is too long to be read' };
  const methodNames = new Set(methodParameters.map(core));
  const methods = new Map<string, NamedMethod>();
  for (const [name, value] of [...(mark < 0 ? [] : parametersOf(path.slice(mark + 1))), ...(form ?? [])]) {
    if (isOverride(name)) return { refused: `the parameter ${canonical(name)}` };
    const parameter = core(name);
    const isOwn = methodNames.has(parameter);
    if (!isOwn && !common.has(parameter)) continue;
    const named = value
      .split(/[^A-Za-z0-9_.-]+/)
      .map((word) => word.toUpperCase())
      .filter((word) => knownMethods.has(word) || ruled.has(word));
    if (isOwn && named.length === 0 && value !== '')
      return { refused: 'a parameter that its provider takes for the method' };
    for (const method of named) methods.set(method, { method, parameter });
  }
  return { refused: null, methods: [...methods.values()] };
}

/**
 * Reports whether a query parameter may be one of `common` or `overrides`, by the first two letters or digits
 * of its name. A loop without strings, because most queries name no method. False positives are possible.
 */
function mayName(path: string, start: number): boolean {
  let isName = true;
  let first = 0;
  for (let i = start; i < path.length; i += 1) {
    const code = path.charCodeAt(i);
    if (code === percent) return true;
    if (code === ampersand || code === semicolon || code === question) {
      isName = true;
      first = 0;
    } else if (code === equals) {
      isName = false;
    } else if (isName && code < 128 && letterOf[code] !== 0) {
      const letter = letterOf[code]!;
      if (first !== 0) {
        if (beginnings.has(first + letter)) return true;
        isName = false;
      }
      first = letter << 7;
    }
  }
  return false;
}

const percent = 0x25;
const ampersand = 0x26;
const semicolon = 0x3b;
const equals = 0x3d;
const question = 0x3f;

/** Digits, and letters in lower case; 0 for other ASCII characters. */
const letterOf = Uint8Array.from({ length: 128 }, (_, code) => {
  const character = String.fromCharCode(code);
  return /[A-Za-z0-9]/.test(character) ? character.toLowerCase().charCodeAt(0) : 0;
});

/** Splits a query at all separators that any server uses, and decodes twice, to find all candidates. */
export function parametersOf(query: string): readonly Parameter[] {
  return query.split(/[&;?]/).map((pair) => {
    const equals = pair.search(/=|%3d/i);
    if (equals < 0) return [decoded(pair), ''];
    return [decoded(pair.slice(0, equals)), decoded(pair.slice(equals).replace(/^(?:=|%3d)/i, ''))];
  });
}

function decoded(text: string): string {
  return text.includes('%') ? percentDecoded(percentDecoded(text)) : text;
}

/** Parameters that are a method for some services (`method`: Graph API), and something else for others. */
const common = new Set(['method', 'httpmethod']);
/** Parameters without another meaning, as `core` normalizes them. */
const overrides = new Set([
  'xhttpmethod',
  'xhttpmethodoverride',
  'xmethodoverride',
  'httpmethodoverride',
  'methodoverride',
]);

/** The first two letters of all these names. */
const beginnings = new Set(
  [...common, ...overrides].map((name) => (name.charCodeAt(0) << 7) + name.charCodeAt(1)),
);

/**
 * Reports whether a parameter is only used for the method: `_method` (WordPress, Rails, Laravel),
 * `$httpMethod` (Google), `_HttpMethod` (Salesforce), `x-http-method-override` (Firebase). Also accepts the
 * forms of PHP: with blanks before it, with `_` for `.`, `+` and `[`, and up to a NUL.
 */
export function isOverride(name: string): boolean {
  const parameter = core(name);
  if (overrides.has(parameter)) return true;
  return common.has(parameter) && !/^\s*[a-z]/i.test(name);
}

/**
 * Returns letters and digits of a name in lower case, up to the NUL or the pair of brackets that ends it for
 * some servers. PHP reads an unpaired bracket as `_` (`http[method`).
 */
function core(name: string): string {
  const [bare = ''] = name.replace(/^[\s+[]+/, '').split('\0', 1);
  const ended = /^([^[]*)\[[^\]]*\]/.exec(bare)?.[1] ?? bare;
  return ended.replace(/[^A-Za-z0-9]/g, '').toLowerCase();
}

/** Returns the documented name for a message, instead of the spelling of the query. */
function canonical(name: string): string {
  const documented: Readonly<Record<string, string>> = { method: '_method', httpmethod: '$httpMethod' };
  return documented[core(name)] ?? 'X-HTTP-Method-Override';
}

/** Methods that servers support (the registry of RFC 9110 §16.1, `PURGE` of caches, and those of UPnP). */
export const knownMethods: ReadonlySet<string> = new Set(
  (
    'ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK M-SEARCH MERGE MKACTIVITY ' +
    'MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE NOTIFY OPTIONS ORDERPATCH PATCH POST PRI PROPFIND PROPPATCH PURGE PUT QUERY ' +
    'REBIND REPORT SEARCH SUBSCRIBE TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UNSUBSCRIBE UPDATE UPDATEREDIRECTREF ' +
    'VERSION-CONTROL'
  ).split(' '),
);
