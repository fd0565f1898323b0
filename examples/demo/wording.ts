import type { Call, Ticket } from './call.ts';

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

/** One line a ticket, in columns. */
export function ticketLines(tickets: readonly Ticket[]): readonly string[] {
  const width = Math.max(...tickets.map(({ title }) => title.length));
  return tickets.map(
    ({ id, title, status, priority }) =>
      `#${String(id).padEnd(3)} ${title.padEnd(width)}  ${status}, ${priority}`,
  );
}

/** What the audit file tells of a call, a line an event. */
export function auditField({ audit, access, outcome }: Call): readonly string[] {
  const refreshed = audit.find(({ event }) => event === 'grant.refreshed');
  const { method, host, port, path, credential } = access;
  return [
    ...(refreshed === undefined
      ? []
      : [`grant.refreshed  ${refreshed.provider}, in ${refreshed.duration_ms} ms`]),
    `access   grant acme, credential ${credential}`,
    `         ${method} ${host}:${port}${path}`,
    `outcome  ${outcome.status}, ${outcome.bytes_out} bytes, ${outcome.duration_ms} ms`,
  ];
}
