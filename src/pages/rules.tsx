import { signal as newSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { all, call, type Me, type PageProps, path, send } from './api.ts';
import { Badge, Empty, Field, Form, Loaded, Table } from './parts.tsx';
import { Action, Failure } from './remedy.tsx';
import { useResource } from './resource.ts';
import { EntryForm, type Entry } from './rule-form.tsx';
import { same } from './rule-fields.ts';
import { Explain, Replay, Tests } from './rule-trial.tsx';

/** The allowed-domains map and its rules: a form and the text of the config file, which edit one draft. */

/** An entry of the allowed-domains map. */
export interface Domain {
  readonly domain: string;
  readonly action: string;
  readonly grant?: string;
  readonly grants?: readonly {
    readonly id: string;
    readonly name: string;
    readonly user: string;
    readonly state: string;
  }[];
  readonly mode?: string;
  readonly default?: string;
  readonly rules?: readonly { readonly outcome: string; readonly text: string }[];
}

/** The config file, and its text after the edits of the person. */
interface Draft {
  readonly file: string;
  readonly etag: string;
  readonly text: string;
}

/** Kept while the person visits another page. Null: not read yet. */
const draft = newSignal<Draft | null>(null);

async function readFile(): Promise<void> {
  const { body, etag } = await send<{ text: string }>('GET /v2/config');
  draft.value = { file: body.text, etag: etag ?? '', text: body.text };
}

/** Milliseconds after the last key until the service reads a text. */
const pauseMs = 300;

/** Returns a value after it has not changed for a moment. */
function useSettled<T>(value: T): T {
  const [settled, settle] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => settle(value), pauseMs);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}

function edit(text: string): void {
  draft.value = { ...draft.value!, text };
}

export function Rules({ me, args: [host] }: PageProps): JSX.Element {
  const file = useResource(async () => {
    if (draft.value === null) await readFile();
    return true;
  });
  return <Loaded of={file}>{() => <Content me={me} host={host} />}</Loaded>;
}

function Content({ me, host }: { readonly me: Me; readonly host: string | undefined }): JSX.Element {
  const { file, text, etag } = draft.value!;
  const settled = useSettled(text);
  // The service decides by the file itself if nothing was edited.
  const given = settled === file ? {} : { text: settled };
  return (
    <>
      {host === undefined ? <Domains key={etag} /> : <Editor key={host} host={host} />}
      <Changes mayWrite={me.scopes.includes('config:write')} text={settled} />
      <h2>What would happen to a request?</h2>
      <Explain host={host} given={given} />
      <h2>Tests of the rules</h2>
      <Tests given={given} />
      {me.scopes.includes('audit:read') && (
        <>
          <h2>What would the last 7 days have got?</h2>
          <Replay key={settled} text={settled} />
        </>
      )}
    </>
  );
}

function Domains(): JSX.Element {
  const domains = useResource((signal) => all<Domain>('/v2/domains', signal));
  return (
    <>
      <Loaded of={domains}>
        {(list) => (
          <Table
            caption="Domains"
            headings={['Host', 'Action', 'Grant now', 'Rules']}
            rows={list.map(({ domain, action, grant, grants = [], rules = [], default: rest = '', mode }) => [
              <a href={path`#rules/${domain}`}>{domain}</a>,
              <Badge state={action} />,
              action === 'grant'
                ? grants.map(({ name, state }) => `${name}: ${state}`).join(', ') || `${grant}: missing`
                : '–',
              rules.length === 0 ? (
                '–'
              ) : (
                <details>
                  <summary>{`${rules.length}, else ${rest}${mode === 'report' ? ' (only reported)' : ''}`}</summary>
                  <ol>
                    {rules.map(({ outcome, text }, index) => (
                      <li key={index}>{`${outcome}: ${text}`}</li>
                    ))}
                  </ol>
                </details>
              ),
            ])}
            none={<Empty title="No host is allowed yet.">Add the first one below.</Empty>}
          />
        )}
      </Loaded>
      <Form label="Open" submit={({ host = '' }) => void (location.hash = path`#rules/${host}`)}>
        <Field
          label="Add or find a host"
          name="host"
          required
          placeholder="api.example.com or *.example.com"
        />
      </Form>
    </>
  );
}

interface Preview {
  readonly text: string;
  readonly entry: Entry;
  readonly rules: readonly string[];
}

/** The form of an entry beside the text of the file. The last edit of both counts. */
function Editor({ host }: { readonly host: string }): JSX.Element {
  const [shown, show] = useState<Preview | undefined>(undefined);
  const [entry, setEntry] = useState<Entry>(null);
  const [error, setError] = useState<unknown>(null);
  const turn = useRef(0);
  const ask = (change: object, afterMs: number) => {
    const own = (turn.current += 1);
    setTimeout(async () => {
      if (own !== turn.current) return;
      try {
        const answer = await call<Preview>('POST /v2/domains/preview', {
          text: draft.value!.text,
          host,
          ...change,
        });
        if (own !== turn.current) return;
        edit(answer.text);
        show(answer);
        setEntry(answer.entry);
        setError(null);
      } catch (thrown) {
        if (own === turn.current) setError(thrown);
      }
    }, afterMs);
  };
  useEffect(() => {
    ask({ action: 'read' }, 0);
    return () => void (turn.current += 1);
  }, []);
  const change = (next: Entry) => {
    setEntry(next);
    if (typeof next === 'string') ask({ action: next }, pauseMs);
    else if (next?.['grant'] !== '') ask({ action: 'grant', entry: next }, pauseMs);
  };
  const type = (text: string) => {
    // A text area has no carriage returns.
    edit(draft.value!.file.includes('\r\n') ? text.replaceAll('\n', '\r\n') : text);
    ask({ action: 'read' }, pauseMs);
  };
  const written = (rule: object) => {
    const { rules = [] } = (shown?.entry ?? {}) as { readonly rules?: readonly object[] };
    return shown?.rules[rules.findIndex((each) => same(each, rule))] ?? JSON.stringify(rule, null, 2);
  };
  return (
    <>
      <p>
        <a href="#rules">All hosts</a>
      </p>
      <h2>{host}</h2>
      <div class="split">
        <div>
          {shown !== undefined && <EntryForm entry={entry} written={written} change={change} />}
          {shown?.entry != null && (
            <Action label="Remove this entry" kind="danger" run={() => ask({ action: 'remove' }, 0)} />
          )}
          <div role="status">{error !== null && <Failure error={error} />}</div>
        </div>
        <label>
          <span>Config file</span>
          <textarea
            name="text"
            rows={24}
            spellcheck={false}
            value={draft.value!.text}
            onInput={(event) => type(event.currentTarget.value)}
          />
        </label>
      </div>
    </>
  );
}

/** The difference of the draft from the file, and the button that writes it. */
function Changes({
  mayWrite,
  text,
}: {
  readonly mayWrite: boolean;
  readonly text: string;
}): JSX.Element | null {
  const { file, etag } = draft.value!;
  const check = useResource(
    async (signal) =>
      text === file ? '' : (await call<{ diff: string }>('POST /v2/config/check', { text }, signal)).diff,
    [text, etag],
  );
  if (text === file) return null;
  const write = async () => {
    await send('PUT /v2/config', { text }, { headers: { 'if-match': etag } });
    await readFile();
  };
  return (
    <section class="card">
      <h2>This would change</h2>
      {check.error === undefined ? (
        <pre class="diff" tabIndex={0}>
          {(check.data ?? '')
            .split('\n')
            .slice(2)
            .map((line, index) => (
              <span key={index} class={{ '+': 'added', '-': 'removed' }[line[0] ?? '']}>
                {line}
              </span>
            ))}
        </pre>
      ) : (
        <Failure error={check.error} />
      )}
      <div class="buttons">
        {mayWrite && <Action label="Write it" kind="good" disabled={check.error !== undefined} run={write} />}
        <Action label="Discard" kind="quiet" run={readFile} />
      </div>
    </section>
  );
}
