import type { ComponentChildren, JSX } from 'preact';
import { useState } from 'preact/hooks';
import { Action } from './remedy.tsx';
import { fields, type Rule, ruleOf, same, textsOf } from './rule-fields.ts';

/** The form of one entry of the map. Rules that the fields cannot show are shown as written. */

/** Members of an entry that adds a credential, as the config file has them. */
interface GrantEntry {
  readonly grant: string;
  readonly default?: string;
  readonly rules?: readonly Rule[];
}

/** An entry. Null: the map has none. */
export type Entry = 'tunnel' | 'deny' | GrantEntry | null;

const wide = { width: '100%', minWidth: 0 };

const columns = { '--column': '12rem' };

interface LabelledProps {
  readonly label: string;
  readonly value: string;
  /** Values and their texts; absent: any text. */
  readonly options?: Readonly<Record<string, string>> | undefined;
  readonly placeholder?: string | undefined;
  readonly change: (value: string) => void;
  readonly children?: ComponentChildren;
}

/** A field whose value is that of the draft. */
function Labelled({ label, value, options, placeholder, change, children }: LabelledProps): JSX.Element {
  const own = { value, style: wide, 'aria-label': label };
  const onInput = (event: { readonly currentTarget: { readonly value: string } }) =>
    change(event.currentTarget.value);
  const Box = placeholder?.includes('\n') ? 'textarea' : 'input';
  return (
    <label style={Box === 'textarea' ? { gridColumn: '1 / -1' } : {}}>
      <span>{label}</span>
      {options === undefined ? (
        <Box {...own} placeholder={placeholder} autoComplete="off" spellcheck={false} onInput={onInput} />
      ) : (
        <select {...own} onChange={onInput}>
          {Object.entries(options).map(([each, text]) => (
            <option key={each} value={each}>
              {text}
            </option>
          ))}
        </select>
      )}
      {children}
    </label>
  );
}

export const outcomes: Readonly<Record<string, string>> = {
  allow: 'allow',
  deny: 'refuse',
  approve: 'ask a person',
  tunnel: 'without a credential',
};

export const actions = { grant: 'add a credential', tunnel: 'pass through', deny: 'refuse' };

/** Returns what happens to requests that no rule matches. */
const restOf = (entry: GrantEntry) => entry.default ?? (entry.rules === undefined ? 'allow' : 'deny');

/** Returns what an entry does, as a sentence. */
export function effectOf(host: string, entry: Entry): string {
  if (entry === null) return `There is no entry for ${host} any more.`;
  if (entry === 'deny') return `Requests to ${host} are refused.`;
  if (entry === 'tunnel') return `Requests to ${host} pass through without a credential.`;
  const { length } = entry.rules ?? [];
  const rules = length === 1 ? '1 rule' : `${length} rules`;
  return `Requests to ${host} use the account ${entry.grant}, with ${rules}; if no rule matches: ${outcomes[restOf(entry)]}.`;
}

interface EntryFormProps {
  readonly entry: Entry;
  /** Returns a rule as the text has it. */
  readonly written: (rule: Rule) => string;
  readonly change: (entry: Exclude<Entry, null>) => void;
}

/** The action of an entry, its grant, and its rules. */
export function EntryForm({ entry, written, change }: EntryFormProps): JSX.Element {
  const isGrant = typeof entry === 'object' && entry !== null;
  const action = isGrant ? 'grant' : (entry ?? '');
  return (
    <>
      {entry === null && <p>The map has no entry for this host yet. Choose what it does.</p>}
      <div class="cards" style={columns}>
        <Labelled
          label="Action"
          value={action}
          options={entry === null ? { '': '–', ...actions } : actions}
          change={(next) => change(next === 'grant' ? { grant: '' } : (next as 'tunnel' | 'deny'))}
        />
        {isGrant && (
          <Labelled label="Account" value={entry.grant} change={(grant) => change({ ...entry, grant })} />
        )}
      </div>
      {isGrant && <Rules entry={entry} written={written} change={change} />}
    </>
  );
}

function Rules({
  entry,
  written,
  change,
}: Omit<EntryFormProps, 'entry'> & { readonly entry: GrantEntry }): JSX.Element {
  const { rules = [], ...rest } = entry;
  const set = (next: readonly Rule[]) => change(next.length === 0 ? rest : { ...rest, rules: next });
  const move = (from: number, to: number) => set(rules.toSpliced(from, 1).toSpliced(to, 0, rules[from]!));
  return (
    <>
      <h3>Rules</h3>
      <p>The first rule that matches a request decides.</p>
      {rules.map((rule, index) => (
        <section key={index} class="card" aria-label={`Rule ${index + 1}`}>
          <div class="bar">
            <strong>{`Rule ${index + 1}`}</strong>
            <span class="buttons end">
              <Action label="Up" kind="quiet" disabled={index === 0} run={() => move(index, index - 1)} />
              <Action
                label="Down"
                kind="quiet"
                disabled={index === rules.length - 1}
                run={() => move(index, index + 1)}
              />
              <Action label="Remove" kind="danger" run={() => set(rules.toSpliced(index, 1))} />
            </span>
          </div>
          {textsOf(rule) === null ? (
            <>
              <p>The text has settings of this rule that the form does not know. Edit it there.</p>
              <pre tabIndex={0}>{written(rule)}</pre>
            </>
          ) : (
            <RuleForm rule={rule} change={(next) => set(rules.with(index, next))} />
          )}
        </section>
      ))}
      <Labelled
        label="If no rule matches"
        value={restOf(entry)}
        options={outcomes}
        change={(outcome) => change({ ...entry, default: outcome })}
      />
      <p role="status">
        {rules.length > 0 && entry.default === undefined && (
          <>
            Without rules, every request to this host is allowed; with rules, a request that none of them
            matches is refused, unless you choose otherwise here.
          </>
        )}
      </p>
      <Action label="Add a rule" kind="quiet" run={() => set([...rules, { methods: ['GET'] }])} />
    </>
  );
}

function RuleForm({ rule, change }: { rule: Rule; change: (rule: Rule) => void }): JSX.Element {
  // The texts as typed. A text that is not complete yet does not change the rule.
  const [own, setOwn] = useState({ rule, texts: textsOf(rule)! });
  const texts = same(own.rule, rule) ? own.texts : textsOf(rule)!;
  const put = (name: string, text: string) => {
    const next = { ...texts, [name]: text };
    const read = ruleOf(next);
    setOwn({ rule: read ?? rule, texts: next });
    if (read !== null) change(read);
  };
  return (
    <div class="cards" style={columns}>
      {Object.entries(fields).map(([name, { label, placeholder, take }]) => (
        <Labelled
          key={name}
          label={label}
          value={texts[name]!}
          placeholder={placeholder}
          options={{ outcome: outcomes, require_reason: { '': 'no', yes: 'yes' } }[name]}
          change={(text) => put(name, text)}
        >
          {take(texts[name]!) === null && <small class="failure">{`As in: ${placeholder}`}</small>}
        </Labelled>
      ))}
    </div>
  );
}
