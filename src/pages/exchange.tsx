import type { JSX } from 'preact';
import { all, path } from './api.ts';
import { type Line, LiveRows } from './live.ts';
import { Badge, Empty, Facts, Loaded, Table, Time } from './parts.tsx';
import { useResource } from './resource.ts';

/** One request, from the events of the audit log that belong to it. */

export interface EventLine extends Line {
  readonly node: string;
  readonly seq: number;
  readonly by?: string;
  readonly user?: string;
  readonly subject?: string;
  readonly client?: string;
  readonly provider?: string;
  readonly port?: number;
  readonly approval?: string;
  readonly credential?: string;
  readonly foreign?: string;
  readonly leaks?: number;
  readonly bytes_in?: number;
  readonly bytes_out?: number;
}

/** Returns what was requested: `GET api.github.com/user`; of an event that is no request its host or service. */
export function requestOf({ method, host = '', path = '', provider = '' }: EventLine): string {
  return method === undefined ? host || provider : `${method} ${host}${path}`;
}

interface ExchangeProps {
  readonly id: string;
}

export function Exchange({ id }: ExchangeProps): JSX.Element {
  const events = useResource(
    (signal) => all<EventLine>(path`/v2/audit/events?order=asc&exchange=${id}`, signal),
    [id],
  );
  return (
    <>
      <p>
        <a href="#audit">All events</a>
      </p>
      <Loaded of={events} skeleton={8}>
        {(lines) =>
          lines.length === 0 ? (
            <Empty title="The log has no such request." action={<a href="#audit">Search all events</a>}>
              Retention may have removed its events.
            </Empty>
          ) : (
            <Story lines={lines} />
          )
        }
      </Loaded>
    </>
  );
}

/** The events of a request that say why it was sent or refused, in words. */
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

function Story({ lines }: { readonly lines: readonly EventLine[] }): JSX.Element {
  const all = Object.assign({}, ...lines) as EventLine;
  const rows = new LiveRows();
  for (const line of lines) rows.take(line);
  const [row] = rows.rows({ notes: true });
  const asked = lines.find(({ event }) => event === 'access')?.reason;
  const hops = lines.filter(({ event }) => event === 'access').length;
  return (
    <>
      <div class="card">
        <h2>{requestOf(all) || all.event}</h2>
        <Facts
          of={{
            Result: (
              <>
                <Badge state={row?.state ?? all.event} /> {all.status} {all.code}
              </>
            ),
            Began: <Time at={lines[0]!.time} exact />,
            Agent: all.agent && <a href={`#agents/${encodeURIComponent(all.agent)}`}>{all.agent}</a>,
            'Stated reason': asked,
            Account: all.grant && (
              <>
                <a href={`#accounts/${encodeURIComponent(all.grant)}`}>{all.provider ?? all.grant}</a>
                {all.user !== undefined && ` of ${all.user}`}
              </>
            ),
            'Credential (fingerprint)': all.credential,
            'Sent to the service': hops > 1 && `${hops} times: its token was refused and refreshed`,
            Host: all.host && `${all.host}${all.port === undefined ? '' : `:${all.port}`}`,
            Caller: all.client,
            Subject: all.subject,
            Lease: all.lease,
            Approval: all.approval,
            Bytes: all.bytes_out !== undefined && `${all.bytes_in ?? 0} sent, ${all.bytes_out} received`,
            'Credentials of the client': all.foreign,
            'Credential removed from answers': all.leaks !== undefined && `${all.leaks} times`,
          }}
        />
      </div>
      {row !== undefined && <Timing waited={row.waited} took={row.took} />}
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
        none=""
      />
    </>
  );
}

interface TimingProps {
  /** Milliseconds for a person, and for everything else. */
  readonly waited: number;
  readonly took: number | undefined;
}

/** Durations of a person and of the service, as a bar. */
function Timing({ waited, took = 0 }: TimingProps): JSX.Element | null {
  const whole = waited + took;
  if (whole === 0) return null;
  const text = [
    ...(waited > 0 ? [`${span(waited)} until a person answered`] : []),
    `${span(took)} for Sidekey and the service`,
  ];
  return (
    <figure>
      <figcaption>
        <b>Time</b>
        <span>{text.join(', ')}</span>
      </figcaption>
      <div class="timeline" aria-hidden="true">
        <div class="past" style={{ width: `${(100 * waited) / whole}%` }} />
      </div>
    </figure>
  );
}

function span(ms: number): string {
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${Math.round(ms / 100) / 10} s`;
}
