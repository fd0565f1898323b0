import { signal as newSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { call, type PageProps, path, send } from './api.ts';
import { Badge, Diff, Empty, Field, Form, Loaded, Table } from './parts.tsx';
import { Action, Failure } from './remedy.tsx';
import { useAll, useResource, useSettled } from './resource.ts';
import { EntryForm, type Entry } from './rule-form.tsx';
import { type Rule, same } from './rule-fields.ts';
import { Explain, Replay, Tests } from './rule-trial.tsx';
import type { Domain, Me } from '../sdk/client/operations.ts';

/** The allowed-domains map and its rules: a form and the text of the config file, which edit one draft. */

/** The config file, and its text after the edits of the person. */
interface Draft {
  readonly file: string;
  readonly etag: string;
  readonly text: string;
  /** Number of reads of the file. Each discards the edits. */
  readonly reads: number;
}

/** Kept while the person visits another page. Null: not read yet. */
const draft = newSignal<Draft | null>(null);

async function readFile(): Promise<void> {
  const { body, etag } = await send<{ text: string }>('GET /v2/config');
  const reads = (draft.value?.reads ?? 0) + 1;
  draft.value = { file: body.text, etag: etag ?? '', text: body.text, reads };
}

/** Milliseconds after the last key until the service reads a text. */
const pauseMs = 300;

function edit(text: string): void {
  draft.value = { ...draft.value!, text };
}

export function Rules({ me, args: [host] }: PageProps): JSX.Element {
  const file = useResource(async () => {
    if (draft.value === null || draft.value.text === draft.value.file) await readFile();
    return true;
  });
  return <Loaded of={file}>{() => <Content me={me} host={host} />}</Loaded>;
}

function Content({ me, host }: { readonly me: Me; readonly host: string | undefined }): JSX.Element {
  const { file, text, reads } = draft.value!;
  const settled = useSettled(text, pauseMs);
  // The service decides by the file itself if nothing was edited.
  const given = settled === file ? {} : { text: settled };
  const mayWrite = me.scopes.includes('config:write');
  const changes = <Changes mayWrite={mayWrite} text={settled} />;
  return (
    <>
      {host === undefined ? (
        <>
          {changes}
          <Domains key={reads} />
        </>
      ) : (
        <Editor key={reads} host={host}>
          {changes}
        </Editor>
      )}
      <Explain host={host} given={given} />
      <Tests given={given} />
      {mayWrite && me.scopes.includes('audit:read') && <Replay key={settled} given={{ text: settled }} />}
    </>
  );
}

function Domains(): JSX.Element {
  const domains = useAll<Domain>('/v2/domains');
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
              rules.length === 0
                ? '–'
                : `${rules.length}, else ${rest}${mode === 'report' ? ' (only reported)' : ''}`,
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
function Editor({ host, children }: { readonly host: string; readonly children: JSX.Element }): JSX.Element {
  const [shown, show] = useState<Preview | undefined>(undefined);
  const [entry, setEntry] = useState<Entry>(null);
  const [error, setError] = useState<unknown>(null);
  const turn = useRef(0);
  const area = useRef<HTMLTextAreaElement>(null);
  const ask = (change: object, afterMs: number) => {
    const number = (turn.current += 1);
    setTimeout(async () => {
      if (number !== turn.current) return;
      try {
        const answer = await call<Preview>('POST /v2/domains/preview', {
          text: draft.value!.text,
          host,
          ...change,
        });
        if (number !== turn.current) return;
        edit(answer.text);
        show(answer);
        setEntry(answer.entry);
        setError(null);
      } catch (thrown) {
        if (number === turn.current) setError(thrown);
      }
    }, afterMs);
  };
  useEffect(() => {
    ask({ action: 'read' }, 0);
    // Scrolls to the entry.
    const before = draft.value!.text.split(`\n  ${host}:`, 2);
    const { scrollHeight } = area.current!;
    if (before.length > 1)
      area.current!.scrollTop =
        scrollHeight * (before[0]!.split('\n').length / draft.value!.text.split('\n').length);
    return () => void (turn.current += 1);
  }, []);
  const change = (next: Exclude<Entry, null>) => {
    setEntry(next);
    if (typeof next === 'string') ask({ action: next }, pauseMs);
    else if (next.grant !== '') ask({ action: 'grant', entry: next }, pauseMs);
  };
  const type = (text: string) => {
    // A text area has no carriage returns.
    edit(draft.value!.file.includes('\r\n') ? text.replaceAll('\n', '\r\n') : text);
    ask({ action: 'read' }, pauseMs);
  };
  const written = (rule: Rule) => {
    const before = shown?.entry;
    const rules = typeof before === 'object' ? (before?.rules ?? []) : [];
    return shown?.rules[rules.findIndex((each) => same(each, rule))] ?? JSON.stringify(rule, null, 2);
  };
  return (
    <>
      <p>
        <a href="#rules">All hosts</a>
      </p>
      <h2 style={{ marginTop: 0 }}>{host}</h2>
      <div class="split">
        <div>
          {shown !== undefined && <EntryForm entry={entry} written={written} change={change} />}
          {shown?.entry != null && (
            <Action label="Remove this entry" kind="danger" run={() => ask({ action: 'remove' }, 0)} />
          )}
          <div role="status">{error !== null && <Failure error={error} />}</div>
        </div>
        <div style={{ position: 'sticky', top: '1rem' }}>
          <label>
            <span>Config file</span>
            <textarea
              name="text"
              ref={area}
              rows={16}
              wrap="off"
              spellcheck={false}
              value={draft.value!.text}
              onInput={(event) => type(event.currentTarget.value)}
            />
          </label>
          {children}
        </div>
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
  const { error, data = '' } = check;
  if (text === file || (data === '' && error === undefined)) return null;
  const write = async () => {
    await send('PUT /v2/config', { text }, { headers: { 'if-match': etag } });
    await readFile();
  };
  return (
    <section class="card" style={{ marginTop: '1rem' }}>
      <h2>This would change</h2>
      {error === undefined ? <Diff of={data} /> : <Failure error={error} />}
      <div class="buttons">
        {mayWrite && <Action label="Write it" kind="good" disabled={error !== undefined} run={write} />}
        <Action label="Discard" kind="quiet" run={readFile} />
      </div>
    </section>
  );
}
