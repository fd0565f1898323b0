import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { Action } from './remedy.tsx';
import { fields, isKnown, type Rule, ruleOf, same, textsOf } from './rule-fields.ts';

/** The form of one entry of the map. It shows rules that it does not know as they are written. */

/** An entry as the config file has it: `tunnel`, `deny`, or members. Null: none. */
export type Entry = string | (Rule & { readonly rules?: readonly Rule[] }) | null;

const wide = { width: '100%' };

interface SelectProps {
  readonly label: string;
  readonly value: string;
  readonly options: readonly (readonly [value: string, text: string])[];
  readonly change: (value: string) => void;
}

function Select({ label, value, options, change }: SelectProps): JSX.Element {
  return (
    <label>
      <span>{label}</span>
      <select value={value} style={wide} onChange={(event) => change(event.currentTarget.value)}>
        {options.map(([each, text]) => (
          <option key={each} value={each}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

const outcomes = [
  ['', 'allow'],
  ['deny', 'deny'],
  ['approve', 'ask a person'],
  ['tunnel', 'without credential'],
] as const;

interface EntryFormProps {
  readonly entry: Entry;
  /** Returns a rule as the text has it. */
  readonly written: (rule: Rule) => string;
  readonly change: (entry: Entry) => void;
}

/** The action of an entry, its grant, and its rules. */
export function EntryForm({ entry, written, change }: EntryFormProps): JSX.Element {
  const isGrant = typeof entry === 'object' && entry !== null;
  const { rules = [], ...rest }: Exclude<Entry, string | null> = isGrant ? entry : {};
  const member = (name: string) => (rest[name] as string | undefined) ?? '';
  const set = (name: string, value: string) => {
    const { [name]: _, ...others } = isGrant ? entry : {};
    change((value === '' ? others : { ...rest, ...(isGrant && entry), [name]: value }) as Entry);
  };
  const setRules = (next: readonly Rule[]) =>
    change((next.length === 0 ? rest : { ...(isGrant && entry), rules: next }) as Entry);
  const moved = (from: number, to: number) => rules.toSpliced(from, 1).toSpliced(to, 0, rules[from]!);
  return (
    <>
      <div class="cards">
        <Select
          label="Action"
          value={isGrant ? 'grant' : (entry ?? '')}
          options={[
            ...(entry === null ? [['', 'none yet'] as const] : []),
            ['grant', 'add a credential'],
            ['tunnel', 'pass through'],
            ['deny', 'refuse'],
          ]}
          change={(action) => change(action === 'grant' ? { grant: '' } : action)}
        />
        {isGrant && (
          <>
            <label>
              <span>Grant</span>
              <input
                name="grant"
                autoComplete="off"
                style={wide}
                value={member('grant')}
                onInput={(event) => change({ ...entry, grant: event.currentTarget.value })}
              />
            </label>
            <Select
              label="Requests that no rule matches"
              value={member('default')}
              options={[
                ['', rules.length > 0 ? 'deny (usual)' : 'allow (usual)'],
                ['allow', 'allow'],
                ...outcomes.slice(1),
              ]}
              change={(value) => set('default', value)}
            />
            <Select
              label="Mode"
              value={member('mode')}
              options={[
                ['', 'enforce the rules'],
                ['report', 'only report'],
              ]}
              change={(value) => set('mode', value)}
            />
          </>
        )}
      </div>
      {isGrant && (
        <>
          <h3>Rules: the first that matches decides</h3>
          {rules.map((rule, index) => (
            <section key={index} class="card" aria-label={`Rule ${index + 1}`}>
              <div class="bar">
                <strong>{`Rule ${index + 1}`}</strong>
                <span class="buttons end">
                  <Action
                    label="Up"
                    kind="quiet"
                    disabled={index === 0}
                    run={() => setRules(moved(index, index - 1))}
                  />
                  <Action
                    label="Down"
                    kind="quiet"
                    disabled={index === rules.length - 1}
                    run={() => setRules(moved(index, index + 1))}
                  />
                  <Action label="Remove" kind="danger" run={() => setRules(rules.toSpliced(index, 1))} />
                </span>
              </div>
              {isKnown(rule) ? (
                <RuleForm rule={rule} change={(next) => setRules(rules.with(index, next))} />
              ) : (
                <>
                  <p>This rule has settings that only the text shows. Edit it there.</p>
                  <pre tabIndex={0}>{written(rule)}</pre>
                </>
              )}
            </section>
          ))}
          <Action label="Add a rule" kind="quiet" run={() => setRules([...rules, { methods: ['GET'] }])} />
        </>
      )}
    </>
  );
}

interface RuleFormProps {
  readonly rule: Rule;
  readonly change: (rule: Rule) => void;
}

function RuleForm({ rule, change }: RuleFormProps): JSX.Element {
  // The texts of this rule. A text that is not complete yet has no rule.
  const [own, setOwn] = useState({ rule, texts: textsOf(rule) });
  const texts = same(own.rule, rule) ? own.texts : textsOf(rule);
  const put = (name: string, text: string) => {
    const next = { ...texts, [name]: text };
    const read = ruleOf(next);
    setOwn({ rule: read ?? rule, texts: next });
    if (read !== null) change(read);
  };
  return (
    <div class="cards">
      {fields.map(({ name, label, kind, placeholder, take }) => {
        const value = texts[name] ?? '';
        if (kind === 'outcome')
          return (
            <Select
              key={name}
              label={label}
              value={value}
              options={outcomes}
              change={(next) => put(name, next)}
            />
          );
        if (kind === 'check')
          return (
            <label key={name} class="inline">
              <input
                type="checkbox"
                checked={value !== ''}
                onChange={(event) => put(name, event.currentTarget.checked ? 'yes' : '')}
              />{' '}
              {label}
            </label>
          );
        const Box = kind === 'lines' ? 'textarea' : 'input';
        return (
          <label key={name}>
            <span>{label}</span>
            <Box
              name={name}
              value={value}
              placeholder={placeholder}
              autoComplete="off"
              spellcheck={false}
              style={wide}
              onInput={(event: { readonly currentTarget: { readonly value: string } }) =>
                put(name, event.currentTarget.value)
              }
            />
            {take(value) === null && <small class="failure">{`Not complete: ${placeholder}`}</small>}
          </label>
        );
      })}
    </div>
  );
}
