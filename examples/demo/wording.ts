import type { Call } from './call.ts';

/** A token by its first six characters: enough to tell two apart, too little to use. */
export function shortened(token: string): string {
  return `${token.slice(0, 6)}…`;
}

/** Request line and fields as the API received them, the token shortened. */
export function receivedHead({ received, token }: Call): readonly string[] {
  const { method, url, httpVersion, rawHeaders } = received;
  const fields: string[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    fields.push(`${rawHeaders[at]}: ${rawHeaders[at + 1]}`.replaceAll(token, shortened(token)));
  }
  return [`${method} ${url} HTTP/${httpVersion}`, ...fields];
}
