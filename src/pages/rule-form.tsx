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

const columns = { gridTemplateColumns: 'repeat(auto-fill, minmax(min(12rem, 100%), 1fr))' };

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

const outcomes = { allow: 'allow', deny: 'refuse', approve: 'ask a person', tunnel: 'without a credential' };

const actions = { grant: 'add a credential', tunnel: 'pass through', deny: 'refuse' };

interface EntryFormProps {
  readonly entry: Entry;
  /** Returns a rule as the text has it. */
  readonly written: (rule: Rule) => string;
  readonly change: (entry: Exclude<Entry, null>) => void;
}

/** The action of an entry, its grant, and its rules. */
export function EntryForm({ entry, written, change }: EntryFormProps): JSX.Element {
  const action = typeof entry === 'string' ? entry : entry === null ? '' : 'grant';
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
        {typeof entry === 'object' && entry !== null && (
          <>
            <Labelled label="Grant" value={entry.grant} change={(grant) => change({ ...entry, grant })} />
            <Labelled
              label="If no rule matches"
              value={entry.default ?? (entry.rules === undefined ? 'allow' : 'deny')}
              options={outcomes}
              change={(outcome) => change({ ...entry, default: outcome })}
            />
          </>
        )}
      </div>
      {typeof entry === 'object' && entry !== null && (
        <Rules entry={entry} written={written} change={change} />
      )}
    </>
  );
}

function Rules({
  entry: { rules = [], ...entry },
  written,
  change,
}: Omit<EntryFormProps, 'entry'> & { readonly entry: GrantEntry }): JSX.Element {
  const set = (next: readonly Rule[]) => change(next.length === 0 ? entry : { ...entry, rules: next });
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
