import type { ComponentChildren, JSX } from 'preact';
import { useState } from 'preact/hooks';
import { call, path } from './api.ts';
import { namesIn } from './matrix.tsx';
import { Badge, Confirm, Facts, Field, Form, Loaded, Table, Time } from './parts.tsx';
import type { Made, Secret } from './ready.tsx';
import { Action } from './remedy.tsx';
import { useResource } from './resource.ts';
import { Rows, usePages } from './rows.tsx';

interface Lease {
  readonly id: string;
  readonly agent: string;
  readonly grants: readonly string[] | null;
  readonly purpose: string;
  readonly state: string;
  readonly ends_at: string | null;
  readonly uses: number | null;
  readonly max_uses: number | null;
  readonly used_at: string | null;
  readonly renewed_at: string | null;
  readonly created_at: string;
}

const usesOf = ({ uses, max_uses }: Lease) => (max_uses === null ? '' : `${uses} of ${max_uses}`);

interface LeasesProps {
  readonly mayChange: boolean;
  /** Absent: the leases of all agents. */
  readonly agent?: string;
  readonly onMade: (made: Made) => void;
}

/** Active leases, and a form for another one. */
export function Leases({ agent, mayChange, onMade }: LeasesProps): JSX.Element {
  const leases = usePages<Lease>(agent === undefined ? '/v2/leases' : path`/v2/leases?agent=${agent}`);
  const create = async ({
    agent: named = '',
    grants = '',
    max_uses,
    ...rest
  }: Readonly<Record<string, string>>) => {
    const uses = max_uses === undefined ? {} : { max_uses: Number(max_uses) };
    const body = { agent: agent ?? named, grants: namesIn(grants), ...uses, ...rest };
    onMade({ ...(await call<Secret>('POST /v2/leases', body)), of: `the lease of ${body.agent}` });
    await leases.reload();
  };
  return (
    <>
      <Rows
        caption="Active leases"
        headings={['Purpose', 'Agent', 'Ends', 'Last use', 'Uses']}
        columns="2fr 1fr 1fr 1fr 6rem"
        height={heightOf(leases.entries.length)}
        source={leases}
        row={(lease) => [
          <a href={path`#agents/${lease.agent}/${lease.id}`}>{lease.purpose}</a>,
          lease.agent,
          <Time at={lease.ends_at} />,
          <Time at={lease.used_at} />,
          usesOf(lease) || '–',
        ]}
        none={<div class="none">No lease is active.</div>}
      />
      {mayChange && (
        <Revealed label="Create a lease">
          <Form label="Create the lease" submit={create}>
            {agent === undefined && <Field label="Agent" name="agent" required />}
            <Field label="Accounts" name="grants" required placeholder="desk, alice/work" />
            <Field label="Purpose" name="purpose" required placeholder="nightly report" />
            <Field label="Ends after" name="ttl" placeholder="15m" />
            <Field label="Uses" name="max_uses" type="number" min={1} placeholder="any number" />
          </Form>
        </Revealed>
      )}
    </>
  );
}

interface RevealedProps {
  readonly label: string;
  readonly isOpen?: boolean;
  readonly children: ComponentChildren;
}

/** A form behind a button. */
export function Revealed({ label, isOpen: isOpenFirst = false, children }: RevealedProps): JSX.Element {
  const [isOpen, setOpen] = useState(isOpenFirst);
  return (
    <>
      <p>
        <button
          type="button"
          class={isOpen ? 'quiet' : ''}
          aria-expanded={isOpen}
          onClick={() => setOpen(!isOpen)}
        >
          {label}
        </button>
      </p>
      {isOpen && children}
    </>
  );
}

/** Returns the height of a list on a page with others: at most 12 rows. */
export function heightOf(rows: number): string {
  return `calc(var(--row) * ${Math.min(rows, 12) + 1} + 2px)`;
}

interface OneLeaseProps {
  readonly id: string;
  readonly mayChange: boolean;
}

/** One lease, and what it was used for. */
export function OneLease({ id, mayChange }: OneLeaseProps): JSX.Element {
  const found = useResource((signal) => call<Lease>(path`GET /v2/leases/${id}`, undefined, signal), [id]);
  const change = async (what: string, body?: object) => {
    await call(what, body);
    await found.reload();
  };
  return (
    <Loaded of={found}>
      {(lease) => (
        <>
          <h2>{lease.purpose}</h2>
          <Facts
            of={{
              State: <Badge state={lease.state} />,
              Agent: <a href={path`#agents/${lease.agent}`}>{lease.agent}</a>,
              Ends: <Time at={lease.ends_at} none="ended" />,
              Uses: usesOf(lease),
              'Last use': <Time at={lease.used_at} />,
              Renewed: lease.renewed_at !== null && <Time at={lease.renewed_at} />,
              Created: <Time at={lease.created_at} />,
            }}
          />
          {mayChange && lease.state !== 'revoked' && (
            <p class="buttons">
              <Action label="Renew" run={() => change(path`POST /v2/leases/${id}/renew`, {})} />
              <Confirm
                label="End"
                question={`End the lease “${lease.purpose}”? The next request of its program is refused.`}
                run={() => change(path`POST /v2/leases/${id}/revoke`)}
              />
            </p>
          )}
          <h2>Last requests</h2>
          <Requests of={path`agent=${lease.agent}&lease=${id}`} />
        </>
      )}
    </Loaded>
  );
}

interface Event {
  readonly time: string;
  readonly host?: string;
  readonly method?: string;
  readonly path?: string;
  readonly outcome?: string;
  readonly agent?: string;
  readonly lease?: string;
}

/** Last requests of an agent or a lease, each with the lease that it was sent under. */
export function Requests({ of }: { readonly of: string }): JSX.Element {
  const events = useResource(
    (signal) =>
      call<{ data: readonly Event[] }>(
        `GET /v2/audit/events?event=outcome&limit=20&${of}`,
        undefined,
        signal,
      ),
    [of],
  );
  return (
    <Loaded of={events} skeleton={3}>
      {({ data }) => (
        <Table
          caption="Requests with a credential"
          headings={['When', 'Request', 'Outcome', 'Lease']}
          rows={data.map(({ time, method = '', host = '', path: where = '', outcome = '', agent, lease }) => [
            <Time at={time} />,
            `${method} ${host}${where}`,
            <Badge state={outcome} />,
            lease === undefined ? (
              'none'
            ) : (
              <a href={path`#agents/${agent ?? ''}/${lease}`}>{lease.slice(0, 8)}</a>
            ),
          ])}
          none="None yet."
        />
      )}
    </Loaded>
  );
}
