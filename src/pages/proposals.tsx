import type { JSX } from 'preact';
import { asTyped, call, path } from './api.ts';
import { Diff, Facts, Loaded, Time } from './parts.tsx';
import { assertSettled, look } from './pending.ts';
import { Action } from './remedy.tsx';
import { useResource } from './resource.ts';
import type { Proposal, ProposalWithEffect } from '../sdk/client/operations.ts';

interface ProposedProps {
  readonly id: string;
  /** Outcome of an answer that did not end it. */
  readonly outcome: string | undefined;
  readonly scopes: readonly string[];
}

/** The card of a proposal: its effects, and buttons for people who may answer it. */
export function Proposed({ id, outcome, scopes }: ProposedProps): JSX.Element {
  const shown = useResource(
    (signal) => call<ProposalWithEffect>(path`GET /v2/proposals/${id}`, undefined, signal),
    [outcome],
  );
  const reply = (label: string, verb: string, kind: string, body?: unknown) => {
    const run = async () => {
      if (verb !== 'decline') assertSettled();
      await call(`${path`POST /v2/proposals/${id}`}/${verb}`, body);
      await look();
    };
    return <Action label={label} kind={kind} run={run} />;
  };
  const mayAnswer = scopes.includes('approvals:write');
  return (
    <article tabIndex={0}>
      <Loaded of={shown} skeleton={6}>
        {({ agent, lease, change, reason, expires_at, answer, diff, commands, notes }) => {
          const isDomain = change.kind === 'domain';
          return (
            <>
              <h2>{`${agent ?? 'A caller without a token'} proposes ${changeText(change)}`}</h2>
              <Facts
                of={{
                  Reason: <q>{reason}</q>,
                  Credential: isDomain && (change.grant ?? 'none: a tunnel that Sidekey does not look into'),
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
                    {answer === null
                      ? 'After a yes, connect it with:'
                      : 'Somebody said yes. Connect it with:'}
                  </p>
                  <pre tabIndex={0}>{asTyped(commands.join('\n'))}</pre>
                </>
              )}
              {mayAnswer && (
                <p class="buttons">
                  {isDomain && reply('Yes, for one request', 'accept', 'good', { reach: 'once' })}
                  {!isDomain && answer === null && reply('Yes', 'accept', 'good', {})}
                  {reply('No', 'decline', 'danger')}
                  {isDomain &&
                    lease !== null &&
                    reply('Yes, for the lease', 'accept', 'quiet', { reach: 'lease' })}
                  {isDomain &&
                    scopes.includes('config:write') &&
                    reply('Yes, for good', 'accept-for-good', 'quiet')}
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
    ? `a grant of ${change.provider}`
    : `more scopes of the grant ${change.grant}`;
}
