import type { JSX } from 'preact';
import { asTyped, may, path } from './api.ts';
import { Diff, Facts, Loaded, Time } from './parts.tsx';
import { reply } from './pending.ts';
import { Action } from './remedy.tsx';
import { useAnswer } from './resource.ts';
import type { Proposal, ProposalWithEffect } from '../sdk/client/operations.ts';

interface ProposedProps {
  readonly id: string;
  /** Outcome of an answer that did not end it. */
  readonly outcome: string | undefined;
}

/** The card of a proposal: its effects, and buttons for people who may answer it. */
export function Proposed({ id, outcome }: ProposedProps): JSX.Element {
  const shown = useAnswer<ProposalWithEffect>(path`GET /v2/proposals/${id}`, outcome);
  const answer = (label: string, verb: string, kind: string, body?: unknown) => {
    const run = () => reply(`${path`POST /v2/proposals/${id}`}/${verb}`, verb !== 'decline', body);
    return <Action label={label} kind={kind} run={run} />;
  };
  return (
    <article tabIndex={0}>
      <Loaded of={shown} skeleton={6}>
        {({ agent, lease, change, reason, expires_at, answer: given, diff, commands, notes }) => {
          const isDomain = change.kind === 'domain';
          return (
            <>
              <h2>{`${agent ?? 'A caller without a token'} proposes ${changeText(change)}`}</h2>
              <Facts
                of={{
                  Reason: <q>{reason}</q>,
                  Account: isDomain && (change.grant ?? 'none: a tunnel that Sidekey does not look into'),
                  Scopes: !isDomain && change.scopes.join(' '),
                  Ends: <Time at={expires_at} />,
                }}
              />
              {notes.map((note) => (
                <p key={note}>{`Note: ${note}`}</p>
              ))}
              {diff !== null && (
                <>
                  <p>For good, the config file changes:</p>
                  <Diff of={diff} />
                </>
              )}
              {commands.length > 0 && (
                <>
                  <p>
                    {given === null ? 'After a yes, connect it with:' : 'Somebody said yes. Connect it with:'}
                  </p>
                  <pre tabIndex={0}>{asTyped(commands.join('\n'))}</pre>
                </>
              )}
              {may('approvals:write') && (
                <p class="buttons">
                  {isDomain && answer('Yes, for one request', 'accept', 'good', { reach: 'once' })}
                  {!isDomain && given === null && answer('Yes', 'accept', 'good', {})}
                  {answer('No', 'decline', 'danger')}
                  {isDomain &&
                    lease !== null &&
                    answer('Yes, for the lease', 'accept', 'quiet', { reach: 'lease' })}
                  {isDomain && may('config:write') && answer('Yes, for good', 'accept-for-good', 'quiet')}
                </p>
              )}
            </>
          );
        }}
      </Loaded>
    </article>
  );
}

function changeText(change: Proposal['change']): string {
  if (change.kind === 'domain') return `the domain ${change.host}`;
  return change.kind === 'grant'
    ? `an account of ${change.provider}`
    : `more scopes of the account ${change.grant}`;
}
