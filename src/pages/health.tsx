import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { call, may } from './api.ts';
import { Badge, Loaded, Table, Time } from './parts.tsx';
import { Action, WayOut } from './remedy.tsx';
import { useAll, useAnswer } from './resource.ts';
import type { Node, Status } from '../sdk/client/operations.ts';

/** Checks of the setup, and its problems, each with the way out of it. */

interface Check {
  readonly ok: boolean;
  /** Result of the check in words. */
  readonly text: string;
}

type Checked = Readonly<Record<string, Check>>;
type Client = Readonly<Record<'name' | 'library' | 'verdict', string>> & { readonly said: string | null };

interface Examined extends Pick<Status, 'needs'> {
  readonly checks: Checked;
  readonly clients: readonly Client[];
  readonly notes: Status['needs'];
}

export function Health(): JSX.Element {
  const status = useAnswer<Status>('GET /v2/status');
  const nodes = useAll<Node>('/v2/nodes');
  return (
    <>
      <Loaded of={status} skeleton={8}>
        {({ needs, ok: _ok, ...checks }) => (
          <>
            <Needs needs={needs} reload={status.reload} />
            <h2>Checks</h2>
            <Checks checks={checks as Checked} />
          </>
        )}
      </Loaded>
      {(nodes.data?.length ?? 0) > 1 && (
        <>
          <h2>Machines that share the store</h2>
          <Table
            caption="Nodes"
            headings={['Name', 'Version', 'Master key', 'Seen']}
            rows={nodes.data!.map(({ name, version, key_id, seen_at }) => [
              name,
              version,
              key_id,
              <Time at={seen_at} />,
            ])}
          />
        </>
      )}
      {may('config:write') && <Examination />}
    </>
  );
}

/** Open problems. Requests that wait for a person come first: somebody is stopped by them. */
function Needs({ needs, reload }: Pick<Status, 'needs'> & { reload: () => unknown }): JSX.Element {
  if (needs.length === 0) return <p class="none">Nothing needs attention: everything works.</p>;
  return (
    <>
      <h2>Needs attention</h2>
      {needs
        .toSorted((a, b) => Number(b.about === 'approvals') - Number(a.about === 'approvals'))
        .map(({ about = '', sentence, hint, remedies = [] }) => (
          <div class="card" key={`${about} ${sentence}`}>
            <p>
              <strong>{sentence}</strong>
            </p>
            <WayOut hint={hint} remedies={remedies} done={reload} />
          </div>
        ))}
    </>
  );
}

function Checks({ checks }: { readonly checks: Checked }): JSX.Element {
  return (
    <Table
      caption="Checks"
      headings={['Part', 'State', 'What was found']}
      rows={Object.entries(checks).map(([name, { ok, text }]) => [
        name,
        <Badge state={ok ? 'ok' : 'problem'} />,
        text,
      ])}
    />
  );
}

/** The examination of the machine and its programs, which takes several seconds. */
function Examination(): JSX.Element {
  const [found, setFound] = useState<Examined | null>(null);
  const run = async () => setFound(await call<Examined>('POST /v2/doctor', {}));
  return (
    <>
      <h2>Programs of this machine</h2>
      <p>
        Starts each client that is installed where Sidekey runs, and sees whether its requests take the proxy.
        This takes up to a minute.
      </p>
      <Action label="Examine" kind="quiet" run={run} />
      {found !== null && (
        <>
          <Needs needs={[...found.needs, ...found.notes]} reload={run} />
          <Checks checks={found.checks} />
          <Table
            caption="Clients"
            headings={['Client', 'Library', 'Result', 'Said']}
            rows={found.clients
              .filter(({ verdict }) => verdict !== 'absent')
              .map(({ name, library, verdict, said }) => [
                name,
                library,
                <Badge state={verdict} />,
                said ?? '',
              ])}
            none="No client is installed here."
          />
        </>
      )}
    </>
  );
}
