import { all, call, send, type Me } from './api.ts';
import { action, badge, choice, field, fill, form, h, table } from './dom.ts';
import { diff } from './diff.ts';
import { type Remedy, wayOut } from './remedy.ts';

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

interface Config {
  readonly file: string;
  readonly text: string;
}

/** The allowed-domains map. Each change shows its difference before it is written. */
export async function domains(main: HTMLElement, me: Me): Promise<void> {
  const list = await all<Domain>('/v2/domains');
  const mayChange = me.scopes.includes('config:write');
  const preview = h('div', { 'aria-live': 'polite' });
  const editor = h('textarea', {
    name: 'text',
    rows: 24,
    spellcheck: 'false',
    'aria-label': 'Text of the config file',
  });

  /** Shows the difference from the file, and a button that writes it. */
  async function propose(edit: (config: Config) => Promise<string> | string): Promise<void> {
    const { body: config, etag } = await send<Config>('GET /v2/config');
    const text = await edit(config);
    if (text === config.text) {
      fill(preview, h('p', {}, 'Nothing would change.'));
      return;
    }
    await call('POST /v2/config/check', { text });
    fill(
      preview,
      h('h3', {}, 'This would change'),
      h(
        'pre',
        { class: 'diff', tabindex: 0 },
        ...diff(config.text, text).map(({ kind, line }) =>
          h('span', { class: kind }, `${sign[kind]} ${line}`),
        ),
      ),
      action(
        'Write it',
        async () => {
          await send('PUT /v2/config', { text }, { headers: { 'if-match': etag ?? '' } });
          await domains(main, me);
        },
        'good',
      ),
      h('button', { type: 'button', class: 'quiet', onclick: () => fill(preview) }, 'Cancel'),
    );
    preview.scrollIntoView({ block: 'nearest' });
  }
  const entry = (values: Readonly<Record<string, string>>) =>
    propose(
      async ({ text }) =>
        (await call<{ text: string }>('POST /v2/domains/preview', { ...values, text })).text,
    );

  fill(
    main,
    table(
      'Domains',
      ['Host', 'Action', 'Grant now', 'Rules', 'Actions'],
      list.map(({ domain, action: what, grant, grants = [], rules = [], default: rest = '', mode }) => [
        domain,
        badge(what),
        what === 'grant'
          ? grants.length === 0
            ? `${grant}: missing`
            : grants.map(({ name, state }) => `${name}: ${state}`).join(', ')
          : '–',
        rules.length === 0
          ? '–'
          : h(
              'details',
              {},
              h('summary', {}, `${rules.length}, else ${rest}${mode === 'report' ? ' (only reported)' : ''}`),
              h('ol', {}, ...rules.map(({ outcome, text }) => h('li', {}, `${outcome}: ${text}`))),
            ),
        mayChange && action('Remove', () => entry({ host: domain, action: 'remove' }), 'quiet'),
      ]),
      'The map is empty.',
    ),
    mayChange && [
      h('h2', {}, 'Change the map'),
      form(
        'Show the change',
        [
          field('Host', 'host', { required: true, placeholder: 'api.example.com or *.example.com' }),
          choice('Action', 'action', ['grant', 'tunnel', 'deny'], 'grant'),
          field('Grant', 'grant', { placeholder: 'for the action grant' }),
        ],
        entry,
      ),
      preview,
      h(
        'details',
        {},
        h('summary', {}, 'Edit the config file'),
        form('Show the change', [editor], async ({ text = '' }) =>
          propose(() => text.replaceAll('\r\n', '\n')),
        ),
      ),
    ],
    h('h2', {}, 'What would happen to a request?'),
    explainForm(me),
  );
  if (mayChange) editor.value = (await call<Config>('GET /v2/config')).text;
}

const sign = { same: ' ', added: '+', removed: '−' } as const;

function explainForm(me: Me): HTMLElement {
  const result = h('div', { 'aria-live': 'polite' });
  return h(
    'div',
    {},
    form(
      'Explain',
      [
        choice('Method', 'method', ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'], 'GET'),
        field('Address', 'url', {
          required: true,
          type: 'url',
          placeholder: 'https://api.example.com/users',
        }),
        field('Agent', 'agent', { placeholder: 'a caller without a token' }),
      ],
      async (values) => {
        const {
          allowed,
          held,
          outcome,
          message,
          hint = null,
          remedies = [],
          steps,
        } = await call<{
          readonly allowed: boolean;
          readonly held: boolean;
          readonly outcome: string;
          readonly message?: string;
          readonly hint?: string;
          readonly remedies?: readonly Remedy[];
          readonly steps: readonly { readonly step: string; readonly ok: boolean; readonly text: string }[];
        }>('POST /v2/explain', values);
        fill(
          result,
          h(
            'p',
            {},
            badge(allowed ? 'allow' : held ? 'held' : 'deny'),
            ' ',
            message ?? outcome,
            wayOut(hint, remedies, me),
          ),
          table(
            'Steps',
            ['Result', 'Step', 'Finding'],
            steps.map(({ step, ok, text }) => [ok ? '✓' : '✗', step, text]),
            '',
          ),
        );
      },
    ),
    result,
  );
}
