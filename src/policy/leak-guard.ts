/** The settings of a domain for responses that contain the credential. */
export const leakGuards = ['auto', 'redact', 'refuse', 'off'] as const;

/**
 * - `auto`: redacts error pages, and responses of endpoints that are known to echo requests.
 * - `redact`: redacts every response.
 * - `refuse`: refuses a response that has an echo.
 * - `off`: searches no response.
 */
export type EchoGuard = (typeof leakGuards)[number];

/** The responses of one exchange to search, and the action on an echo. */
export interface EchoPlan {
  readonly onEcho: 'redact' | 'refuse';
  /** `errors`: responses of a status from 400. */
  readonly covers: 'all' | 'errors';
  /** True if the config asks for it. Then a request whose response cannot be searched is refused. */
  readonly isAsked: boolean;
}

const errors: EchoPlan = { onEcho: 'redact', covers: 'errors', isAsked: false };
const place: EchoPlan = { onEcho: 'redact', covers: 'all', isAsked: false };
const redact: EchoPlan = { onEcho: 'redact', covers: 'all', isAsked: true };
const refuse: EchoPlan = { onEcho: 'refuse', covers: 'all', isAsked: true };

/** The facts that decide whether a response may echo the credential. */
interface EchoFacts {
  readonly host: string;
  readonly path: string;
  /** Path prefixes of the provider that echo requests. */
  readonly places?: readonly string[] | undefined;
  /** True if the credential replaces a placeholder of the client, in a part that services often echo. */
  readonly isShown?: boolean;
}

/** Returns the plan for a request; null: no response is searched. */
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

/** Reports whether a response of this status is searched. */
export function isCovered({ covers }: EchoPlan, status: number): boolean {
  return covers === 'all' || status >= 400;
}

/** First labels of hosts that echo requests. */
const echoHosts = /^(?:httpbin|httpbingo|postman-echo|echo)\./;

/** Path segments of servers and frameworks that echo requests. */
const echoSegment =
  /\/(?:headers|anything|echo|dump|trace|httptrace|inspect|request-?info|debug|phpinfo(?:\.php)?|printenv)(?![^/?;])/i;

/** Reports whether a path echoes requests. A false positive costs only a search. */
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
