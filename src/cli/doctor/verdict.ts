/** What a probe's end says of the program. Pure. */

/** How a probe ended. */
export interface ProbeEnd {
  readonly exit: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly timedOut: boolean;
}

/**
 * - `works`: it reached the proxy and took its certificate.
 * - `untrusted`: it reached the proxy, and does not trust the CA.
 * - `unproxied`: it went past the proxy.
 * - `unauthenticated`: it reached the proxy and showed no token.
 * - `failed`: something else, which its own words say.
 */
export type Verdict = 'works' | 'untrusted' | 'unproxied' | 'unauthenticated' | 'failed' | 'slow';

const untrusted =
  /certificate|self.signed|unknown (?:authority|issuer|CA)|UNABLE_TO_(?:GET|VERIFY)|PKIX|SSL_ERROR|not trusted|ERR_CERT|x509/i;
/** Nobody else knows the name: who looks it up goes past the proxy. */
const unproxied =
  /resolve|ENOTFOUND|EAI_AGAIN|name or service|no such host|getaddrinfo|nodename|UnknownHost|ERR_NAME|dns error|lookup|UnresolvedAddress|ConnectException/i;
const unauthenticated = /407|agent_auth_required|proxy authentication/i;

/** @param page what the page says, or what the program says of it; */
export function verdictOf({ exit, stdout, stderr, timedOut }: ProbeEnd, page: RegExp): Verdict {
  const said = `${stdout}\n${stderr}`;
  if (page.test(said)) return 'works';
  if (timedOut) return 'slow';
  // A trust error names the host too, and some programs say of it that they could not connect: the order counts.
  if (unauthenticated.test(said)) return 'unauthenticated';
  if (untrusted.test(said)) return 'untrusted';
  if (unproxied.test(said)) return 'unproxied';
  return exit === 0 ? 'unproxied' : 'failed';
}

/** Its own words, for a person: the line that says most, without control characters, cut. */
export function lastWords({ stdout, stderr }: ProbeEnd): string {
  const lines = `${stdout}\n${stderr}`
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const telling = lines.findLast((line) => /error|fail|fatal|exception|unable|could not/i.test(line));
  return (telling ?? lines.at(-1) ?? 'it said nothing').slice(0, 200);
}
