import type { JSX } from 'preact';
import { call, path } from './api.ts';
import { namesIn } from './matrix.tsx';
import { Confirm, Field, Form, Time } from './parts.tsx';
import type { Made, Secret } from './ready.tsx';
import { Action } from './remedy.tsx';
import { Rows, usePages } from './rows.tsx';

interface Lease {
  readonly id: string;
  readonly agent: string;
  readonly purpose: string;
  readonly ends_at: string | null;
  readonly uses: number | null;
  readonly max_uses: number | null;
  readonly used_at: string | null;
}

interface LeasesProps {
  readonly mayChange: boolean;
  /** Absent: the leases of all agents. */
  readonly agent?: string;
  readonly onMade: (made: Made) => void;
  readonly done: () => unknown;
}

/** Active leases, and a form for another one. */
export function Leases({ agent, mayChange, onMade, done }: LeasesProps): JSX.Element {
  const leases = usePages<Lease>(agent === undefined ? '/v2/leases' : path`/v2/leases?agent=${agent}`);
  const changed = async (what: string, body?: unknown) => {
    const answer = await call<Secret>(what, body);
    leases.reload();
    await done();
    return answer;
  };
  const create = async ({
    agent: named = '',
    grants = '',
    max_uses,
    ...rest
  }: Readonly<Record<string, string>>) => {
    const uses = max_uses === undefined ? {} : { max_uses: Number(max_uses) };
    const body = { agent: agent ?? named, grants: namesIn(grants), ...uses, ...rest };
    onMade({ ...(await changed('POST /v2/leases', body)), of: `the lease of ${body.agent}` });
  };
  return (
    <>
      <Rows
        caption="Active leases"
        headings={['Agent', 'Purpose', 'Ends', 'Actions', 'Uses', 'Last use']}
        columns="1fr 2fr 1fr 13rem 5rem 1fr"
        height="auto"
        source={leases}
        row={(lease) => [
          lease.agent,
          <a href={path`#agents/${lease.agent}/${lease.id}`}>{lease.purpose}</a>,
          <Time at={lease.ends_at} />,
          mayChange && (
            <>
              <Action
                label="Renew"
                kind="quiet"
                run={() => changed(path`POST /v2/leases/${lease.id}/renew`, {})}
              />
              <Confirm
                label="End"
                question={`End the lease “${lease.purpose}” of ${lease.agent}? Its program is refused at once.`}
                run={() => changed(path`POST /v2/leases/${lease.id}/revoke`)}
              />
            </>
          ),
          lease.max_uses === null ? '–' : `${lease.uses} of ${lease.max_uses}`,
          <Time at={lease.used_at} />,
        ]}
        none={<div class="none">No lease is active.</div>}
      />
      {mayChange && (
        <details>
          <summary>Create a lease</summary>
          <Form label="Create the lease" submit={create}>
            {agent === undefined && <Field label="Agent" name="agent" required />}
            <Field label="Accounts" name="grants" required hint="Names, separated by commas" />
            <Field label="Purpose" name="purpose" required placeholder="nightly report" />
            <Field label="Ends after" name="ttl" placeholder="15m" />
            <Field label="Uses" name="max_uses" type="number" min={1} placeholder="any number" />
          </Form>
        </details>
      )}
    </>
  );
}
