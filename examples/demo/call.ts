import type { AuditLine } from '../../src/domain/event.ts';
import { placeOf } from '../../src/operations/proxied-request.ts';
import { askProxy } from '../../src/proxy/upstream/through-proxy.ts';
import type { ReceivedRequest } from '../helpdesk/helpdesk.ts';
import type { Agent, AgentRun } from './agent.ts';
import { auditSince } from './audit-trail.ts';
import { claim } from './claim.ts';
import type { Stage } from './stage.ts';

/** One request of the agent, seen from every side. */
export interface Call {
  /** What the agent sent to the API: request line and fields. */
  readonly sent: readonly string[];
  readonly received: ReceivedRequest;
  /** The access token that the API received. Not for the screen. */
  readonly token: string;
  readonly tickets: readonly Ticket[];
  readonly bytes: number;
  /** What the audit file tells of it, refreshes included. */
  readonly audit: readonly AuditLine[];
  readonly access: AuditLine;
  readonly outcome: AuditLine;
}

/** What the demo shows of a ticket. */
export interface Ticket {
  readonly id: number;
  readonly title: string;
  readonly status: string;
  readonly priority: string;
  readonly assignee: string;
}

export const path = '/tickets?assignee=me';

/**
 * Has the agent ask for its tickets, and checks what the whole demo is about: no credential left the agent,
 * and the API received one. Throws `DemoFailure` where it was otherwise.
 *
 * @param after number of the last audit line that is known
 */
export async function callTickets(
  { helpdesk, proxy }: Stage,
  agent: Agent,
  after: number,
  signal: AbortSignal,
): Promise<Call> {
  const arrived: ReceivedRequest[] = [];
  const note = (request: ReceivedRequest): void => {
    if (request.url === path) arrived.push(request);
  };
  helpdesk.requests.on('request', note);
  let run: AgentRun;
  try {
    run = await agent.run(`${helpdesk.issuer}${path}`, signal);
  } finally {
    helpdesk.requests.off('request', note);
  }

  const [connect, sent] = run.sent;
  claim(
    connect !== undefined && sent !== undefined && run.sent.length === 2,
    `The agent was to send a CONNECT and one request; it sent ${run.sent.length} requests.`,
  );
  claim(!run.sent.flat().some(isCredential), 'The agent sent a credential, and it was to have none.');
  const [received] = arrived;
  claim(
    received !== undefined && arrived.length === 1,
    `The API was to receive one request; it received ${arrived.length}, and the agent got status ${run.status}.`,
  );
  const token = /^Bearer (\S+)$/.exec(received.headers.authorization ?? '')?.[1];
  claim(token !== undefined, 'The API received no bearer token.');
  const atAgent = [...run.sent.flat(), run.body, ...Object.values(agent.environment)].join('\n');
  claim(!atAgent.includes(token), 'The agent got to see the token.');
  claim(run.status === 200, `The API was to answer 200; the agent got ${run.status}.`);

  const audit = await auditSince(
    proxy.config().audit.file,
    after,
    (lines) => exchange(lines) !== null,
    signal,
  );
  const told = exchange(audit);
  claim(told?.access.credential !== undefined, 'The audit file does not say which credential was used.');
  claim(told.outcome.status === run.status, 'The audit file tells of another status than the agent got.');
  return {
    sent,
    received,
    token,
    tickets: ticketsIn(run.body),
    bytes: Buffer.byteLength(run.body),
    audit,
    ...told,
  };
}

/**
 * What a caller of the proxy gets: the status, and the code of a refusal. `userInfo`: `name:token`, or empty.
 */
export async function answerTo(
  { proxy }: Stage,
  { url, userInfo }: { readonly url: string; readonly userInfo: string },
  signal: AbortSignal,
): Promise<string> {
  const place = placeOf({ host: '127.0.0.1', port: proxy.address.port, userInfo }, null);
  const { response, status } = await askProxy(place, { method: 'GET', url, fields: [], body: null }, signal);
  response.resume();
  return [status, response.headers['sidekey-error'] ?? []].flat().join(' ');
}

/** Fields that carry a credential: RFC 9110 §11.6.2 and §11.7.2, RFC 6265. */
function isCredential(line: string): boolean {
  return /^(?:proxy-)?authorization:|^cookie:/i.test(line);
}

/** The request for tickets and how it ended; null while that is not written. */
function exchange(lines: readonly AuditLine[]): { access: AuditLine; outcome: AuditLine } | null {
  const access = lines.find((line) => line.event === 'access' && line.path === '/tickets');
  const outcome = lines.find((line) => line.event === 'outcome' && line.exchange === access?.exchange);
  return access === undefined || outcome === undefined ? null : { access, outcome };
}

function ticketsIn(body: string): readonly Ticket[] {
  const { tickets } = JSON.parse(body) as { readonly tickets?: readonly Ticket[] };
  claim(tickets !== undefined && tickets.length > 0, 'The API answered without a ticket.');
  claim(
    tickets.every(({ assignee }) => assignee === 'alice'),
    'The API answered with tickets that are not those of alice.',
  );
  return tickets;
}
