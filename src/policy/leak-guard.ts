/** What a domain says of responses in which the credential comes back. */
export const leakGuards = ['auto', 'redact', 'refuse', 'off'] as const;

/**
 * - `auto`: error pages, and what comes from places that are known to show requests, are redacted.
 * - `redact`: every response is.
 * - `refuse`: no response that has an echo goes on.
 * - `off`: nothing is looked at.
 */
export type EchoGuard = (typeof leakGuards)[number];

/** What is looked for an echo of one exchange, and what becomes of it. */
export interface EchoPlan {
  readonly onEcho: 'redact' | 'refuse';
  /** `errors`: responses of a status from 400. */
  readonly covers: 'all' | 'errors';
  /** Whether a person has asked for it: then nothing goes out that cannot be guarded. */
  readonly isAsked: boolean;
}

const errors: EchoPlan = { onEcho: 'redact', covers: 'errors', isAsked: false };
const place: EchoPlan = { onEcho: 'redact', covers: 'all', isAsked: false };
const redact: EchoPlan = { onEcho: 'redact', covers: 'all', isAsked: true };
const refuse: EchoPlan = { onEcho: 'refuse', covers: 'all', isAsked: true };

/** What says whether a response may show the credential. */
interface EchoFacts {
  readonly host: string;
  readonly path: string;
  /** Beginnings of paths that do, as the provider says. */
  readonly places?: readonly string[] | undefined;
  /** Whether the credential stands where a client put its placeholder: in what services show. */
  readonly isShown?: boolean;
}

/** What holds for a request. Null: nothing is looked at. */
export function echoPlan(
  guard: EchoGuard,
  { host, path, places = [], isShown = false }: EchoFacts,
): EchoPlan | null {
  switch (guard) {
    case 'off':
      return null;
    case 'redact':
      return redact;
    case 'refuse':
      return refuse;
    case 'auto':
      return isShown || isEchoPlace(host, path, places) ? place : errors;
  }
}

/** Whether the response is looked at. */
export function isCovered({ covers }: EchoPlan, status: number): boolean {
  return covers === 'all' || status >= 400;
}

/** First labels of hosts that exist to show requests. */
const echoHosts = /^(?:httpbin|httpbingo|postman-echo|echo)\./;

/** Segments by which servers and frameworks show the request that they were sent. */
const echoSegment =
  /\/(?:headers|anything|echo|dump|trace|httptrace|inspect|request-?info|debug|phpinfo(?:\.php)?|printenv)(?![^/?;])/i;

/** However the path is written: what is taken for one too much is only looked at. */
function isEchoPlace(host: string, path: string, places: readonly string[]): boolean {
  if (echoHosts.test(host) || echoSegment.test(path)) return true;
  if (places.length === 0 && !path.includes('%')) return false;
  const plain = decoded(path);
  return echoSegment.test(plain) || places.some((beginning) => hasPlace(plain, beginning));
}

function hasPlace(path: string, beginning: string): boolean {
  const at = path.toLowerCase().indexOf(beginning.toLowerCase());
  if (at < 0) return false;
  const next = path[at + beginning.length];
  return beginning.endsWith('/') || next === undefined || '/?;'.includes(next);
}

function decoded(path: string): string {
  return path.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
}
