import { Fragment, type JSX } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import { call, more, type PageProps, path } from './api.ts';
import { Empty, Facts, Loaded, Skeleton, Table, Time } from './parts.tsx';
import { askToNotify, assertSettled, failure, look, notifies, proposals, requests } from './pending.ts';
import { Proposed } from './proposals.tsx';
import { Action, Failure } from './remedy.tsx';
import { useAll, useResource } from './resource.ts';
import type { ShownApproval, StandingApproval } from '../sdk/client/operations.ts';

/** Requests that wait for a person, as cards; approvals in force; the history of answers. */

/** The time until a request is refused, which counts down. */
function TimeLeft({ seconds }: { readonly seconds: number }): JSX.Element {
  const end = useMemo(() => Date.now() + seconds * 1_000, [seconds]);
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  const left = Math.max(0, Math.ceil((end - now) / 1_000));
  const minutes = left < 60 ? '' : `${Math.floor(left / 60)} min `;
  return <>{left === 0 ? 'Its time is over.' : `${minutes}${left % 60} s left; then it is refused.`}</>;
}

/** Texts of an agent wrap, so that no part can be pushed out of sight at the side. */
const wrapped = { whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' };
const marked = { background: 'color-mix(in srgb, var(--fair) 25%, transparent)', color: 'inherit' };

const kinds: Readonly<Record<string, string>> = { once: 'good', deny: 'danger' };

interface RequestProps {
  readonly id: string;
  readonly mayAnswer: boolean;
}

/** The card of a request. Its texts are those of its link page. */
function Request({ id, mayAnswer }: RequestProps): JSX.Element {
  const isWaiting = requests.entries.value?.some((each) => each.id === id);
  const shown = useResource(
    (signal) => call<ShownApproval>(path`GET /v2/approvals/${id}`, undefined, signal),
    [id, isWaiting],
  );
  const reply = (answer: string, span: string | null) => async () => {
    if (answer !== 'deny') assertSettled();
    await call(path`POST /v2/approvals/${id}`, span === null ? { answer } : { answer, span });
    await look();
  };
  return (
    <article tabIndex={0} data-request={id}>
      <Loaded of={shown} skeleton={6}>
        {({ title, method, url, quotes, facts, expires_in, like, answers, answer }) => (
          <>
            <h2>{title}</h2>
            <p>
              {answer === null && answers.length > 0 && <TimeLeft seconds={expires_in} />}
              {answer === null && answers.length === 0 && 'It waits no longer.'}
              {answer !== null && `${answer.outcome === 'allowed' ? 'Allowed' : 'Refused'} by ${answer.by}.`}
            </p>
            <pre tabIndex={0} style={wrapped}>
              <b>{method}</b> {url}
            </pre>
            {quotes.map(({ caption, parts }) => (
              <Fragment key={caption}>
                <p>{`${caption}:`}</p>
                <pre tabIndex={0} style={wrapped}>
                  {parts.map(({ text, named }) => (named ? <mark style={marked}>{text}</mark> : text))}
                </pre>
              </Fragment>
            ))}
            <Facts of={Object.fromEntries(facts.map(({ name, value }) => [name, value]))} />
            {mayAnswer && answers.length > 0 && (
              <>
                <dl class="answers" style={{ alignItems: 'center', marginTop: 'var(--s4)' }}>
                  {answers.map(({ answer: said, span, label, effect }) => (
                    <div key={label}>
                      <dt>
                        <Action label={label} kind={kinds[said] ?? 'quiet'} run={reply(said, span)} />
                      </dt>
                      <dd>{effect}</dd>
                    </div>
                  ))}
                </dl>
                <p>{like}</p>
              </>
            )}
          </>
        )}
      </Loaded>
    </article>
  );
}

function InForce({ mayAnswer }: Pick<RequestProps, 'mayAnswer'>): JSX.Element {
  const standing = useAll<StandingApproval>('/v2/approvals/standing', requests.entries.value);
  const end = (id: string) => () => standing.change(path`DELETE /v2/approvals/${id}`);
  return (
    <Loaded of={standing} skeleton={2}>
      {(entries) => (
        <Table
          caption="Approvals in force"
          headings={['Agent', 'Credential', 'Rule', 'Ends', 'By', 'Actions']}
          rows={entries.map(({ id, agent, grant_name, rule, rule_name, until, by }) => [
            agent ?? 'any caller',
            grant_name,
            rule_name ?? rule,
            <Time key={id} at={until} none="with the lease" />,
            by,
            mayAnswer && <Action key={id} label="End" kind="quiet" run={end(id)} />,
          ])}
          none="No approval is in force."
        />
      )}
    </Loaded>
  );
}

type Line = Readonly<Record<'time' | 'event', string>> &
  Readonly<Partial<Record<'agent' | 'method' | 'host' | 'path' | 'reason', string>>>;

const outcomes: Readonly<Record<string, string>> = {
  'approval.allowed': 'Allowed',
  'approval.denied': 'Refused',
  'approval.revoked': 'Ended',
};

function History(): JSX.Element {
  const lines = useResource(
    (signal) => more<Line>('/v2/audit/events?event=approval.*', undefined, signal),
    [requests.entries.value],
  );
  return (
    <Loaded of={lines} skeleton={3}>
      {({ entries }) => (
        <Table
          caption="The last answers"
          headings={['Time', 'Answer', 'Agent', 'Request', 'By']}
          rows={entries
            .filter(({ event }) => outcomes[event] !== undefined)
            .slice(0, 20)
            .map(({ time, event, agent, method = '', host = '', path: target = '', reason }) => [
              <Time key={time} at={time} />,
              outcomes[event],
              agent ?? 'no token',
              `${method} ${host}${target}`,
              reason,
            ])}
          none="Nobody has answered a request yet."
        />
      )}
    </Loaded>
  );
}

/** Moves the focus between cards with j and k, and opens the focused one with Enter. No key answers. */
function onKey({ key, target, ctrlKey, altKey, metaKey }: KeyboardEvent): void {
  if (ctrlKey || altKey || metaKey || (target as Element).matches('input, select, textarea')) return;
  const cards = [...document.querySelectorAll<HTMLElement>('main article')];
  const at = cards.findIndex((card) => card.contains(document.activeElement));
  if (key === 'j' || key === 'k') cards[Math.max(0, at + (key === 'j' ? 1 : -1))]?.focus();
  const id = (target as HTMLElement).dataset['request'];
  if (key === 'Enter' && id !== undefined) location.hash = `approvals/${id}`;
}

/** Requests and proposals that wait, or the request that the address names. */
export function Approvals({ me: { scopes }, args: [wanted] }: PageProps): JSX.Element {
  useEffect(() => {
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, []);
  const mayAnswer = scopes.includes('approvals:write');
  if (wanted !== undefined)
    return (
      <>
        <p>
          <a href="#approvals">All approvals</a>
        </p>
        <Request id={wanted} mayAnswer={mayAnswer} />
      </>
    );
  const waiting = requests.entries.value;
  const proposed = proposals.entries.value ?? [];
  return (
    <>
      <div class="bar">
        {waiting?.length !== 0 && <small>j and k choose a card, Enter opens it.</small>}
        <span class="end">
          {!notifies.value && <Action label="Notify me" kind="quiet" run={askToNotify} />}
        </span>
      </div>
      {failure.value !== undefined && <Failure error={failure.value} />}
      {waiting === undefined && failure.value === undefined && <Skeleton lines={4} />}
      <div aria-live="polite">
        {waiting?.length === 0 && proposed.length === 0 && (
          <Empty
            title="No request waits."
            action={
              scopes.includes('config:read') && (
                <a class="button quiet" href="#rules">
                  Open rules
                </a>
              )
            }
          >
            A request appears here if its rule needs approval.
          </Empty>
        )}
      </div>
      {waiting?.map(({ id }) => (
        <Request key={id} id={id} mayAnswer={mayAnswer} />
      ))}
      {proposed.map(({ id, answer }) => (
        <Proposed key={id} id={id} outcome={answer?.outcome} scopes={scopes} />
      ))}
      <h2>In force</h2>
      <InForce mayAnswer={mayAnswer} />
      {scopes.includes('audit:read') && (
        <>
          <h2>History</h2>
          <History />
        </>
      )}
    </>
  );
}
