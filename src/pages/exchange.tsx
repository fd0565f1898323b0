import type { JSX } from 'preact';
import { path } from './api.ts';
import { grantName } from './grant-name.ts';
import { durationText, type Line, LiveRows, requestOf, type Row } from './live.ts';
import { Badge, Facts, Loaded, Table, Time } from './parts.tsx';
import { useAll } from './resource.ts';

/** One request, from the events of the audit log that belong to it. */

export function Exchange({ id }: { readonly id: string }): JSX.Element {
  const events = useAll<Line>(path`/v2/audit/events?order=asc&exchange=${id}`);
  return (
    <>
      <a href="#audit">All events</a>
      <Loaded of={events} skeleton={8}>
        {(lines) =>
          lines.length > 0 ? (
            <Story lines={lines} />
          ) : (
            <p class="none">The log has no such request. Retention may have removed its events.</p>
          )
        }
      </Loaded>
    </>
  );
}

/** Events of a request in words. */
const words: Readonly<Record<string, string>> = {
  access: 'sent with the credential',
  'credential.added': 'further credential added',
  'approval.asked': 'a person was asked',
  'approval.allowed': 'a person said yes',
  'approval.denied': 'a person said no, or nobody answered',
  'policy.reported': 'a rule in report mode would have refused it',
  'leak.limited': 'the answers repeated the credential too often',
  'placeholder.passed': 'a placeholder passed in the conversation',
  'token.read': 'the value of a token was read',
  'token.answered': 'a placeholder was answered for a token',
  outcome: 'ended',
  tunnel: 'the tunnel ended',
  denied: 'refused',
  discovery: 'the agent asked what it may call',
};

function Story({ lines }: { readonly lines: readonly Line[] }): JSX.Element {
  const rows = new LiveRows();
  for (const line of lines) rows.take(line);
  const [row] = rows.rows({ notes: true });
  const request = Object.assign({}, ...lines, { reason: undefined }, row) as RequestFields;
  const { waited = 0, took = 0 } = request;
  return (
    <>
      <div class="card">
        <h2>{requestOf(request) || request.event}</h2>
        <RequestFacts of={request} />
        {waited > 0 && (
          <div
            class="timeline"
            aria-hidden="true"
            style={{ '--now': `${(100 * waited) / (waited + took)}%` }}
          />
        )}
      </div>
      <h2>Events</h2>
      <Table
        caption="Events of this request"
        headings={['Time', 'Event', 'What happened', 'Details']}
        rows={lines.map(({ time, event, outcome, status, code, reason, by }) => [
          <Time at={time} exact />,
          event,
          words[event] ?? event,
          [outcome, status, code, by, reason].filter((part) => part !== undefined).join(' · '),
        ])}
      />
    </>
  );
}

type RequestFields = Partial<Line> & Pick<Row, 'time' | 'event'> & Partial<Row>;

/** Facts of a request or an event. Omits those that the log does not have. */
export function RequestFacts({ of }: { readonly of: RequestFields }): JSX.Element {
  const { state, event, agent, grant, host, port, took, waited = 0, bytes_in = 0, bytes_out, leaks } = of;
  const spans = [
    waited > 0 && `${durationText(waited)} until a person answered`,
    took !== undefined && `${durationText(took)} for Sidekey and the service`,
  ];
  return (
    <Facts
      of={{
        Result: (
          <>
            <Badge state={state === undefined || state === 'note' ? event : state} /> {of.status} {of.code}
          </>
        ),
        Began: <Time at={of.time} exact />,
        Took: spans.filter((text) => text !== false).join(', '),
        Agent: agent && <a href={path`#agents/${agent}`}>{agent}</a>,
        Reason: of.reason,
        Account: grant && <a href={path`#accounts/${grant}`}>{grantName(grant)}</a>,
        Service: of.provider,
        'Credential (fingerprint)': of.credential,
        'Sent to the service': of.isRepeated && 'Again, with a refreshed token',
        Host: host && `${host}${port === undefined ? '' : `:${port}`}`,
        Caller: of.client,
        Subject: of.subject,
        Lease: of.lease,
        Approval: of.approval,
        Bytes: bytes_out !== undefined && `${bytes_in} sent, ${bytes_out} received`,
        'Credentials of the client': of.foreign,
        'Credential removed from answers': leaks !== undefined && `${leaks} times`,
      }}
    />
  );
}
