import type { JSX } from 'preact';
import { path } from './api.ts';
import { type Line, requestOf } from './live.ts';
import { Badge, Loaded, Table, Time } from './parts.tsx';
import { useAnswer } from './resource.ts';

/** Events of an account in words. */
const happenings: Readonly<Record<string, string>> = {
  'grant.added': 'connected',
  'grant.connected': 'connected',
  'grant.changed': 'changed',
  'grant.expired': 'expired',
  'grant.reauth_required': 'needs a new consent',
  'grant.refreshed': 'token renewed',
  'grant.refresh_failed': 'renewal failed',
  'grant.revoked': 'ended',
};

/** Last requests of an account, agent or lease, and changes of an account. `of` is a condition of the log. */
export function Uses({ of, title }: { readonly of: string; readonly title: string }): JSX.Element {
  const events = useAnswer<{ data: readonly Line[] }>(`GET /v2/audit/events?limit=50&${of}`);
  // An account shows its agents; an agent shows its leases.
  const isAccount = of.startsWith('grant=');
  return (
    <>
      <h2>{title}</h2>
      <Loaded of={events} skeleton={3}>
        {({ data }) => (
          <Table
            caption="Requests with a credential"
            headings={['Time', isAccount ? 'Agent' : 'Lease', 'Request', 'Result', 'Reason']}
            rows={data
              .filter(({ event }) => event !== 'access')
              .map(({ time, agent, lease, status, outcome, reason, ...line }) => [
                <Time at={time} />,
                isAccount || lease === undefined ? (
                  isAccount && (agent ?? '–')
                ) : (
                  <a href={path`#agents/${agent ?? ''}/${lease}`}>{lease.slice(0, 8)}</a>
                ),
                line.method === undefined ? (happenings[line.event] ?? line.event) : requestOf(line),
                status ?? (outcome !== undefined && <Badge state={outcome} />),
                reason,
              ])}
            none="None yet."
          />
        )}
      </Loaded>
    </>
  );
}
