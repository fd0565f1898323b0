/** Elements of a page. Texts become text nodes, never markup: names come from agents and providers. */

export type Child = Node | string | number | null | undefined | false | readonly Child[];

type Props = Readonly<
  Record<string, string | number | boolean | null | undefined | ((event: Event) => unknown)>
>;

/** Creates an element. A function adds a listener (`onclick`). `true` sets an attribute without a value. */
export function h<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  props: Props = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, String(value));
  }
  add(element, children);
  return element;
}

function add(element: Element, children: readonly Child[]): void {
  for (const child of children) {
    if (Array.isArray(child)) add(element, child as readonly Child[]);
    else if (child !== null && child !== undefined && child !== false) element.append(child as Node | string);
  }
}

export function fill(element: Element, ...children: readonly Child[]): void {
  element.replaceChildren();
  add(element, children);
}

/** Returns a table, or a sentence if it has no rows. On a narrow screen each row is a block with headings. */
export function table(
  caption: string,
  headings: readonly string[],
  rows: readonly (readonly Child[])[],
  none: Child,
): HTMLElement {
  if (rows.length === 0) return h('p', { class: 'none' }, none);
  return h(
    'table',
    {},
    h('caption', {}, caption),
    h('thead', {}, h('tr', {}, ...headings.map((heading) => h('th', { scope: 'col' }, heading)))),
    h(
      'tbody',
      {},
      ...rows.map((cells) =>
        h('tr', {}, ...cells.map((cell, index) => h('td', { 'data-heading': headings[index] ?? '' }, cell))),
      ),
    ),
  );
}

/** Returns facts as a list of terms. Omits facts without a value. */
export function facts(entries: Readonly<Record<string, Child>>): HTMLElement {
  const shown = Object.entries(entries).filter(
    ([, value]) => value !== null && value !== undefined && value !== '',
  );
  return h('dl', {}, ...shown.flatMap(([term, value]) => [h('dt', {}, term), h('dd', {}, value)]));
}

/** Returns a state as a word in a color. */
export function badge(state: string): HTMLElement {
  const good = ['active', 'enabled', 'allow', 'ok', 'grant'];
  const bad = ['expired', 'revoked', 'reauth_required', 'deny', 'failed', 'disabled', 'ends_soon'];
  const kind = good.includes(state) ? 'good' : bad.includes(state) ? 'bad' : 'neutral';
  return h('span', { class: `badge ${kind}` }, state.replaceAll('_', ' '));
}

/** Returns a button that is disabled during its work, and shows a failure beside it. */
export function action(label: string, work: () => Promise<unknown>, kind = ''): HTMLElement {
  const message = h('span', { role: 'status' });
  const button = h('button', { type: 'button', class: kind, onclick: () => run() }, label);
  const run = async () => {
    button.disabled = true;
    fill(message);
    try {
      await work();
    } catch (error) {
      fill(message, failure(error));
    }
    button.disabled = false;
  };
  return h('span', { class: 'action' }, button, message);
}

/** Returns a form whose failure is shown below its fields. */
export function form(
  label: string,
  fields: readonly Child[],
  submit: (values: Readonly<Record<string, string>>) => Promise<unknown>,
): HTMLFormElement {
  const message = h('div', { role: 'status' });
  const button = h('button', {}, label);
  const send = async (event: Event) => {
    event.preventDefault();
    button.disabled = true;
    fill(message);
    const entries = [...new FormData(it)].flatMap(([name, value]) =>
      typeof value === 'string' && value !== '' ? [[name, value] as const] : [],
    );
    try {
      await submit(Object.fromEntries(entries));
    } catch (error) {
      fill(message, failure(error));
    }
    button.disabled = false;
  };
  const it = h('form', { onsubmit: send }, ...fields, button, message);
  return it;
}

export function field(label: string, name: string, props: Props = {}): HTMLElement {
  return h('label', {}, h('span', {}, label), h('input', { name, autocomplete: 'off', ...props }));
}

export function choice(label: string, name: string, options: readonly string[], chosen = ''): HTMLElement {
  const entries = options.map((value) => h('option', { value, selected: value === chosen }, value || 'any'));
  return h('label', {}, h('span', {}, label), h('select', { name }, ...entries));
}

/** Returns an error as a sentence with its hint. */
export function failure(error: unknown): HTMLElement {
  const { message, hint } = error as { readonly message: string; readonly hint?: string };
  return h('p', { class: 'failure' }, message, hint !== undefined && h('code', {}, hint));
}

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

const units = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
] as const;

/** Returns a time as `in 3 hours`, with the local time as its title; null: a word. */
export function time(text: string | null, none = 'never'): Child {
  if (text === null) return none;
  const at = new Date(text);
  const span = at.getTime() - Date.now();
  const [unit, length] = units.find(([, each]) => Math.abs(span) >= each) ?? ['second', 1_000];
  return h(
    'time',
    { datetime: text, title: at.toLocaleString() },
    relative.format(Math.round(span / length), unit),
  );
}
