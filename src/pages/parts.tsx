import { signal } from '@preact/signals';
import type { ComponentChildren, InputHTMLAttributes, JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { Action, Failure, useWork } from './remedy.tsx';
import type { Resource } from './resource.ts';

/** Parts of pages. Texts are text nodes, never markup: names come from agents and providers. */

interface LoadedProps<T> {
  readonly of: Resource<T>;
  /** Number of grey lines while the first value is read. */
  readonly skeleton?: number;
  readonly children: (data: T) => ComponentChildren;
}

/** A value of the API: lines in grey before it, and a failure with its ways out. */
export function Loaded<T>({
  of: { data, error, reload },
  skeleton = 4,
  children,
}: LoadedProps<T>): JSX.Element {
  return (
    <>
      {error !== undefined && (
        <Failure error={error}>
          <Action label="Try again" kind="quiet" run={reload} />
        </Failure>
      )}
      {data !== undefined && children(data)}
      {data === undefined && error === undefined && <Skeleton lines={skeleton} />}
    </>
  );
}

export function Skeleton({ lines }: { readonly lines: number }): JSX.Element {
  return <div class="skeleton" role="status" aria-label="Loading" style={{ height: `${lines * 2}rem` }} />;
}

export interface TableProps {
  readonly caption: string;
  readonly headings: readonly string[];
  readonly rows: readonly (readonly ComponentChildren[])[];
  /** Shown if there are no rows. */
  readonly none?: ComponentChildren;
}

/** A short list. On a narrow screen each row is a block with headings. */
export function Table({ caption, headings, rows, none }: TableProps): JSX.Element {
  if (rows.length === 0) return <div class="none">{none}</div>;
  return (
    <table aria-label={caption}>
      <thead>
        <tr>
          {headings.map((heading) => (
            <th key={heading} scope="col">
              {heading}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((cells, row) => (
          <tr key={row}>
            {cells.map((cell, index) => (
              <td key={index} data-heading={headings[index]}>
                {cell}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** Lines of a unified difference, without those of its head. */
export function Diff({ of }: { readonly of: string }): JSX.Element {
  return (
    <pre class="diff" tabIndex={0}>
      {of
        .split('\n')
        .slice(2)
        .map((line, index) => (
          <span key={index} class={{ '+': 'good', '-': 'bad' }[line[0] ?? '']}>
            {line}
          </span>
        ))}
    </pre>
  );
}

/** Facts as a list of terms. Omits facts without a value. */
export function Facts({ of }: { readonly of: Readonly<Record<string, ComponentChildren>> }): JSX.Element {
  const shown = Object.entries(of).filter(([, value]) => value != null && value !== '' && value !== false);
  return (
    <dl>
      {shown.map(([term, value]) => (
        <div key={term}>
          <dt>{term}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** Kinds of states. Others are neutral. */
const states: Readonly<Record<string, string>> = {
  good: 'active enabled allow ok grant',
  bad: 'problem expired revoked reauth_required deny denied failed disabled',
  fair: 'ends_soon waiting approve',
};

/** A state as a word in a color. */
export function Badge({ state }: { readonly state: string }): JSX.Element {
  const kind = Object.keys(states).find((each) => states[each]!.split(' ').includes(state)) ?? 'neutral';
  return <span class={`badge ${kind}`}>{state.replaceAll('_', ' ')}</span>;
}

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const units = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
] as const;

/** The time of now, in milliseconds. Advances twice a minute. */
const clock = signal(Date.now());
setInterval(() => (clock.value = Date.now()), 30_000);

interface TimeProps {
  readonly at: string | null;
  /** Shown if there is no time. */
  readonly none?: string;
  /** Shows the local time instead of the span until now. */
  readonly exact?: boolean;
}

/** A time as `in 3 hours`, with the local time as its title. */
export function Time({ at, none = 'never', exact = false }: TimeProps): JSX.Element {
  if (at === null) return <span class="never">{none}</span>;
  const local = new Date(at).toLocaleString();
  const span = new Date(at).getTime() - Math.max(clock.value, Date.now());
  const [unit, length] = units.find(([, each]) => Math.abs(span) >= each) ?? ['second', 1_000];
  return (
    <time dateTime={at} title={local}>
      {exact ? local : relative.format(Math.round(span / length), unit)}
    </time>
  );
}

interface EmptyProps {
  readonly title: string;
  /** The next step: a button or a link. */
  readonly action?: ComponentChildren;
  readonly children?: ComponentChildren;
}

/** An empty list, with the next step. */
export function Empty({ title, action, children }: EmptyProps): JSX.Element {
  return (
    <div class="empty">
      <p>
        <strong>{title}</strong>
      </p>
      {children !== undefined && <p>{children}</p>}
      {action}
    </div>
  );
}

interface ConfirmProps {
  readonly label: string;
  readonly question: string;
  readonly run: () => unknown;
}

/** A button that asks for confirmation before its work. */
export function Confirm({ label, question, run }: ConfirmProps): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const close = () => dialog.current?.close();
  const work = async () => {
    await run();
    close();
  };
  return (
    <span class="action">
      <button type="button" class="danger" onClick={() => dialog.current?.showModal()}>
        {label}
      </button>
      <dialog ref={dialog} aria-label={question}>
        <p>{question}</p>
        <div class="buttons">
          <Action label={label} kind="danger solid" run={work} />
          <button type="button" class="quiet" onClick={close}>
            Cancel
          </button>
        </div>
      </dialog>
    </span>
  );
}

type Values = Readonly<Record<string, string>>;

interface FormProps {
  readonly label: string;
  /** Gets the fields that are not empty. */
  readonly submit: (values: Values) => unknown;
  readonly children: ComponentChildren;
  /** Keeps the values after a success. */
  readonly keep?: boolean;
}

/**
 * A form whose failure is shown below its fields. Its first button sends it. Fields are emptied after a
 * success; those of secrets also after a failure.
 */
export function Form({ label, submit, children, keep = false }: FormProps): JSX.Element {
  const { isBusy, failure, run } = useWork();
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const entries = [...new FormData(form)].filter(([, value]) => typeof value === 'string' && value !== '');
    await run(async () => {
      await submit(Object.fromEntries(entries) as Values);
      if (!keep) form.reset();
    });
    for (const secret of form.querySelectorAll<HTMLInputElement>('[type=password]')) secret.value = '';
  };
  return (
    <form onSubmit={(event) => void send(event)}>
      {children}
      <button disabled={isBusy}>{label}</button>
      <div role="status">{failure}</div>
    </form>
  );
}

type FieldProps = InputHTMLAttributes & { readonly label: string; readonly name: string };

export function Field({ label, ...props }: FieldProps): JSX.Element {
  return (
    <label>
      <span>{label}</span>
      <input autoComplete="off" {...props} />
    </label>
  );
}

interface CheckProps extends Pick<
  InputHTMLAttributes,
  'name' | 'value' | 'checked' | 'defaultChecked' | 'onChange' | 'class'
> {
  readonly label: ComponentChildren;
}

/** A box to check, with its label beside it. */
export function Check({ label, class: kind = 'inline', ...props }: CheckProps): JSX.Element {
  return (
    <label class={kind}>
      <input type="checkbox" {...props} /> {label}
    </label>
  );
}

interface ChoiceProps {
  readonly label: string;
  readonly name: string;
  /** Values, or pairs of a value and its text. */
  readonly options: readonly (string | readonly [value: string, text: string])[];
  readonly chosen?: string;
  readonly onChange?: (value: string) => void;
}

export function Choice({ label, name, options, chosen = '', onChange }: ChoiceProps): JSX.Element {
  const pairs = options.map(
    (each) => (typeof each === 'string' ? [each, each || 'any'] : each) as [string, string],
  );
  return (
    <label>
      <span>{label}</span>
      <select name={name} onChange={(event) => onChange?.(event.currentTarget.value)}>
        {pairs.map(([value, text]) => (
          <option
            key={value}
            value={value}
            ref={(option) => {
              // The choice after a reset of the form.
              if (option !== null) option.defaultSelected = value === chosen;
            }}
          >
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

interface OnceProps {
  /** Sentence before the secret. */
  readonly title: string;
  readonly secret: string;
  /** Called when the person has stored it. */
  readonly done: () => void;
}

/** A secret that is shown once. It is removed from the page with the component. */
export function Once({ title, secret, done }: OnceProps): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => box.current?.focus(), []);
  return (
    <div class="once" role="status" tabIndex={-1} ref={box}>
      <p>{title}</p>
      <code>{secret}</code>
      <div class="buttons">
        <Action label="Copy" run={() => navigator.clipboard.writeText(secret)} />
        <Action label="I have stored it" kind="quiet" run={done} />
      </div>
    </div>
  );
}
