import type { JSX } from 'preact';
import { call, may, path } from './api.ts';
import { Badge, Confirm, Facts, Field, Form, Loaded, Time } from './parts.tsx';
import type { Made, Secret } from './ready.tsx';
import { Action } from './remedy.tsx';
import { useAnswer } from './resource.ts';
import { Rows, usePages } from './rows.tsx';
import { words } from './rule-fields.ts';
import { Uses } from './uses.tsx';
import type { Lease } from '../sdk/client/operations.ts';

const usesOf = ({ uses, max_uses }: Lease) => (max_uses === null ? '' : `${uses} of ${max_uses}`);

interface LeasesProps {
  /** Absent: the leases of all agents. */
  readonly agent?: string;
  readonly onMade: (made: Made) => void;
}

/** Active leases, and a form for another one. */
export function Leases({ agent, onMade }: LeasesProps): JSX.Element {
  const leases = usePages<Lease>(agent === undefined ? '/v2/leases' : path`/v2/leases?agent=${agent}`);
  const create = async ({ grants = '', max_uses, ...rest }: Readonly<Record<string, string>>) => {
    const uses = max_uses === undefined ? {} : { max_uses: Number(max_uses) };
    const body = { ...(agent && { agent }), ...rest, ...uses, grants: words(grants) };
    onMade({ ...(await call<Secret>('POST /v2/leases', body)), of: `the lease of ${body.agent}` });
    await leases.reload();
  };
  return (
    <>
      <Rows
        caption="Active leases"
        headings={['Purpose', 'Agent', 'Ends', 'Last use', 'Uses']}
        columns="2fr 1fr 1fr 1fr 6rem"
        height="33rem"
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
      {may('access:write') && (
        <details>
          <summary class="button quiet">Create a lease</summary>
          <Form label="Create the lease" submit={create}>
            {agent === undefined && <Field label="Agent" name="agent" required />}
            <Field label="Accounts" name="grants" required placeholder="desk, alice/work" />
            <Field label="Purpose" name="purpose" required placeholder="nightly report" />
            <Field label="Ends after (optional)" name="ttl" placeholder="15m" />
            <Field label="Uses (optional)" name="max_uses" type="number" min={1} placeholder="any number" />
          </Form>
        </details>
      )}
    </>
  );
}

/** One lease, and what it was used for. */
export function LeasePage({ id }: { readonly id: string }): JSX.Element {
  const resource = useAnswer<Lease>(path`GET /v2/leases/${id}`);
  return (
    <Loaded of={resource}>
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
          {may('access:write') && lease.state !== 'revoked' && (
            <p class="buttons">
              <Action label="Renew" run={() => resource.change(path`POST /v2/leases/${id}/renew`, {})} />
              <Confirm
                label="End"
                question={`End the lease “${lease.purpose}”? The next request of its program is refused.`}
                run={() => resource.change(path`POST /v2/leases/${id}/revoke`)}
              />
            </p>
          )}
          <Uses of={path`agent=${lease.agent}&lease=${id}&event=outcome`} title="Last requests" />
        </>
      )}
    </Loaded>
  );
}
