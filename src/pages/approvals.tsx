import { Fragment, type JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { may, type PageProps, path } from './api.ts';
import type { Line } from './live.ts';
import { Facts, Loaded, Skeleton, Table, Time } from './parts.tsx';
import { askToNotify, failure, notifies, proposals, reply, requests } from './pending.ts';
import { Proposed } from './proposals.tsx';
import { Action, Failure } from './remedy.tsx';
import { useAll, useAnswer } from './resource.ts';
import type { ShownApproval, StandingApproval } from '../sdk/client/operations.ts';

/** Requests that wait for a person, as cards; approvals in force; the history of answers. */

/** The time until a request is refused, which counts down. */
function TimeLeft({ seconds }: { readonly seconds: number }): JSX.Element {
  const [left, setLeft] = useState(seconds);
  useEffect(() => {
    const end = Date.now() + seconds * 1_000;
    const timer = setInterval(() => setLeft(Math.max(0, Math.ceil((end - Date.now()) / 1_000))), 1_000);
    return () => clearInterval(timer);
  }, [seconds]);
  const minutes = left < 60 ? '' : `${Math.floor(left / 60)} min `;
  return <>{left === 0 ? 'Its time is over.' : `${minutes}${left % 60} s left; then it is refused.`}</>;
}

/** Texts of an agent wrap, so that no part can be pushed out of sight at the side. */
const wrapped = { whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' };
const marked = { background: 'color-mix(in srgb, var(--fair) 25%, transparent)', color: 'inherit' };

const kinds: Readonly<Record<string, string>> = { once: 'good', deny: 'danger' };

/** The card of a request. Its texts are those of its link page. */
function Request({ id }: { readonly id: string }): JSX.Element {
  const isWaiting = requests.entries.value?.some((each) => each.id === id);
  const shown = useAnswer<ShownApproval>(path`GET /v2/approvals/${id}`, isWaiting);
  const post = (said: string, span: string | null) =>
    reply(path`POST /v2/approvals/${id}`, said !== 'deny', { answer: said, ...(span !== null && { span }) });
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
            {may('approvals:write') && answers.length > 0 && (
              <>
                <dl class="answers" style={{ alignItems: 'center', marginTop: 'var(--s4)' }}>
                  {answers.map(({ answer: said, span, label, effect }) => (
                    <div key={label}>
                      <dt>
                        <Action label={label} kind={kinds[said] ?? 'quiet'} run={() => post(said, span)} />
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

function InForce(): JSX.Element {
  const standing = useAll<StandingApproval>('/v2/approvals/standing', requests.entries.value);
  const end = (id: string) => () => standing.change(path`DELETE /v2/approvals/${id}`);
  return (
    <Loaded of={standing} skeleton={2}>
      {(entries) => (
        <Table
          caption="Approvals in force"
          headings={['Agent', 'Account', 'Rule', 'Ends', 'By', 'Actions']}
          rows={entries.map(({ id, agent, grant_name, rule, rule_name, until, by }) => [
            agent ?? 'any caller',
            grant_name,
            rule_name ?? rule,
            <Time key={id} at={until} none="with the lease" />,
            by,
            may('approvals:write') && <Action key={id} label="End" kind="quiet" run={end(id)} />,
          ])}
          none="No approval is in force."
        />
      )}
    </Loaded>
  );
}

const outcomes: Readonly<Record<string, string>> = {
  'approval.allowed': 'Allowed',
  'approval.denied': 'Refused',
  'approval.revoked': 'Ended',
};

function History(): JSX.Element {
  const newest = 'GET /v2/audit/events?event=approval.*&limit=200';
  const lines = useAnswer<{ data: readonly Line[] }>(newest, requests.entries.value);
  return (
    <Loaded of={lines} skeleton={3}>
      {({ data }) => (
        <Table
          caption="The last answers"
          headings={['Time', 'Answer', 'Agent', 'Request', 'By']}
          rows={data
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
export function Approvals({ args: [wanted] }: PageProps): JSX.Element {
  useEffect(() => {
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, []);
  if (wanted !== undefined)
    return (
      <>
        <a href="#approvals">All approvals</a>
        <Request id={wanted} />
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
          <p class="none">
            No request waits. A request appears here if its{' '}
            {may('config:read') ? <a href="#rules">rule</a> : 'rule'} needs approval.
          </p>
        )}
      </div>
      {waiting?.map(({ id }) => (
        <Request key={id} id={id} />
      ))}
      {proposed.map(({ id, answer }) => (
        <Proposed key={id} id={id} outcome={answer?.outcome} />
      ))}
      <h2>In force</h2>
      <InForce />
      {may('audit:read') && <h2>History</h2>}
      {may('audit:read') && <History />}
    </>
  );
}
