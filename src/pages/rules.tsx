import { signal as newSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { call, may, type PageProps, path, send } from './api.ts';
import { Diff, Field, Form, Loaded, Table } from './parts.tsx';
import { Action, Failure } from './remedy.tsx';
import { useAll, useResource, useSettled } from './resource.ts';
import { actions, effectOf, EntryForm, type Entry, outcomes } from './rule-form.tsx';
import { type Rule, same } from './rule-fields.ts';
import { Explain, Replay, Tests } from './rule-trial.tsx';
import type { Domain } from '../sdk/client/operations.ts';

/** The allowed-domains map and its rules: a form and the text of the config file, which edit one draft. */

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

function edit(text: string): void {
  draft.value = { ...draft.value!, text };
}

export function Rules({ args: [host] }: PageProps): JSX.Element {
  const file = useResource(async () => {
    if (draft.value === null || draft.value.text === draft.value.file) await readFile();
    return true;
  });
  return <Loaded of={file}>{() => <Content host={host} />}</Loaded>;
}

function Content({ host }: { readonly host: string | undefined }): JSX.Element {
  const { file, text: typed } = draft.value!;
  const text = useSettled(typed, pauseMs);
  // The service decides by the file itself if nothing was edited.
  const given = text === file ? {} : { text };
  return (
    <>
      {host === undefined ? <Domains text={text} /> : <Editor text={text} host={host} />}
      <Explain host={host} given={given} />
      <Tests given={given} />
      {may('config:write') && may('audit:read') && <Replay key={text} given={{ text }} />}
    </>
  );
}

interface DraftProps {
  /** Text of the draft, after a pause. */
  readonly text: string;
}

function Domains({ text }: DraftProps): JSX.Element {
  const { file, etag } = draft.value!;
  const domains = useAll<Domain>('/v2/domains', etag);
  const [isEdited] = useState(text !== file);
  return (
    <>
      {isEdited && <Changes text={text} effect="New requests follow the changed file." />}
      <Loaded of={domains}>
        {(list) => (
          <Table
            caption="Domains"
            headings={['Host', 'Action', 'Account', 'Rules']}
            rows={list.map(({ domain, action, grant, grants = [], rules = [], default: rest, mode }) => [
              <a href={path`#rules/${domain}`}>{domain}</a>,
              actions[action],
              action === 'grant'
                ? grants.map(({ name, state }) => `${name}: ${state}`).join(', ') || `${grant}: missing`
                : '–',
              rules.length === 0
                ? '–'
                : `${rules.length}, else ${outcomes[rest ?? 'deny']}${mode === 'report' ? ' (only reported)' : ''}`,
            ])}
            none="No host is allowed yet. Add the first one here."
          />
        )}
      </Loaded>
      <Form label="Open" submit={({ host = '' }) => void (location.hash = path`#rules/${host}`)}>
        <Field
          label="Add or find a host"
          name="host"
          required
          size={32}
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

interface Change {
  readonly action: 'read' | 'remove' | 'grant' | 'tunnel' | 'deny';
  /** The entry of the form; absent: that of the text. */
  readonly entry?: Entry;
}

/** The form of an entry beside the text of the file. The last edit of both counts. */
function Editor({ host, text: checked }: DraftProps & { readonly host: string }): JSX.Element {
  const [change, setChange] = useState<Change>({ action: 'read' });
  const area = useRef<HTMLTextAreaElement>(null);
  const settled = useSettled(change, pauseMs);
  const preview = useResource(
    async (signal) => {
      const { text } = draft.value!;
      const { action, entry: filled } = settled;
      const body = { text, host, action, ...(action === 'grant' && { entry: filled }) };
      const answer = await call<Preview>('POST /v2/domains/preview', body, signal);
      // An answer about a text that the person has changed since is dropped.
      if (!signal.aborted && draft.value!.text === text) edit(answer.text);
      return answer;
    },
    [settled],
  );
  const { data, error } = preview;
  useEffect(() => {
    // Scrolls to the entry.
    const { text } = draft.value!;
    const before = text.split(`\n  ${host}:`, 2);
    const { scrollHeight } = area.current!;
    if (before.length > 1)
      area.current!.scrollTop = (scrollHeight * before[0]!.split('\n').length) / text.split('\n').length;
  }, []);
  const { entry = data?.entry ?? null } = change;
  const type = (text: string) => {
    // A text area has no carriage returns.
    edit(draft.value!.file.includes('\r\n') ? text.replaceAll('\n', '\r\n') : text);
    setChange({ action: 'read' });
  };
  const fill = (next: Exclude<Entry, null>) => {
    const action = typeof next === 'string' ? next : next.grant === '' ? 'read' : 'grant';
    setChange({ action, entry: next });
  };
  const written = (rule: Rule) => {
    const rules = typeof data?.entry === 'object' ? (data.entry?.rules ?? []) : [];
    return data?.rules[rules.findIndex((each) => same(each, rule))] ?? JSON.stringify(rule, null, 2);
  };
  return (
    <>
      <a href="#rules">All hosts</a>
      <h2>{host}</h2>
      <div class="split">
        <div>
          {data !== undefined && <EntryForm entry={entry} written={written} change={fill} />}
          {entry !== null && (
            <Action label="Remove this entry" kind="danger" run={() => setChange({ action: 'remove' })} />
          )}
          <div role="status">{error !== undefined && <Failure error={error} />}</div>
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
          <Changes
            text={checked}
            effect={effectOf(host, data?.entry ?? null)}
            discarded={() => setChange({ action: 'read' })}
          />
        </div>
      </div>
    </>
  );
}

interface ChangesProps extends DraftProps {
  /** Sentence about what the draft does, once it is saved. */
  readonly effect: string;
  readonly discarded?: () => void;
}

/** The difference of the draft from the file, and the button that saves it. */
function Changes({ text, effect, discarded }: ChangesProps): JSX.Element | null {
  const mayWrite = may('config:write');
  const { file, etag, text: typed } = draft.value!;
  const [saved, setSaved] = useState('No change to save.');
  const { error, data = '' } = useResource(
    async (signal) =>
      text === file ? '' : (await call<{ diff: string }>('POST /v2/config/check', { text }, signal)).diff,
    [text, etag],
  );
  const isChanged = text !== file;
  const save = async () => {
    await send('PUT /v2/config', { text }, { headers: { 'if-match': etag } });
    await readFile();
    setSaved(`Saved. ${effect}`);
  };
  const discard = async () => {
    await readFile();
    discarded?.();
  };
  if (!mayWrite && !isChanged) return null;
  return (
    <section class="card" aria-label="Changes">
      {isChanged && error !== undefined && <Failure error={error} />}
      {isChanged && data !== '' && (
        <>
          <h2>This would change</h2>
          <Diff of={data} />
        </>
      )}
      <div class="buttons">
        {mayWrite && (
          <Action
            label="Save"
            kind="good"
            disabled={!isChanged || text !== typed || error !== undefined}
            run={save}
          />
        )}
        {isChanged && <Action label="Discard" kind="quiet" run={discard} />}
        <span role="status">{text === typed && !isChanged && saved}</span>
      </div>
    </section>
  );
}
