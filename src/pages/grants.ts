import { all, call, type Listing, type Me, more, path, type View } from './api.ts';
import type { Line } from './audit.ts';
import { action, badge, facts, field, fill, form, h, table, time } from './dom.ts';

interface Listed {
  readonly id: string;
  readonly name: string;
  readonly user: string;
  readonly provider: string;
  readonly state: string;
  readonly account: string | null;
  readonly expires_at: string | null;
  readonly refreshable: boolean;
  readonly ends_soon: boolean;
  readonly used_at: string | null;
}

interface Shown extends Listed {
  readonly account_details: Readonly<Record<string, string>>;
  readonly state_reason: string | null;
  readonly scopes: readonly string[];
  readonly audience: readonly string[];
  readonly domains: readonly string[];
  readonly failure: string | null;
  readonly settings: { readonly expires_at: string | null; readonly max_ttl: number | null };
}

const rank = ({ state }: Listed) => (state === 'active' ? 1 : 0);

/** Accounts: a person's own, or all for an operator. `#grants/ID` shows one. */
export const grants: View = async (main, me) => {
  const [, id] = location.hash.split('/');
  if (id !== undefined && id !== '') return one(main, me, decodeURIComponent(id));
  const bySession =
    me.scopes.includes('grants:write') && (await call<SignIn>('GET /sign-in/oidc')).keeps && bySignIn(me);
  const isOne = me.user !== null;
  const draw = ({ entries, next }: Listing<Listed>): void =>
    fill(
      main,
      table(
        'Connected accounts',
        ['Name', 'Account', ...(isOne ? [] : ['User']), 'Service', 'State', 'Token ends', 'Last use'],
        entries
          .toSorted((a, b) => rank(a) - rank(b))
          .map((grant) => [
            h('a', { href: `#grants/${grant.id}` }, grant.name),
            grant.account,
            ...(isOne ? [] : [grant.user]),
            grant.provider,
            grant.ends_soon ? [badge(grant.state), ' ', badge('ends_soon')] : badge(grant.state),
            grant.refreshable ? 'is renewed' : time(grant.expires_at, 'no end'),
            time(grant.used_at),
          ]),
        ['No account is connected yet. ', h('code', {}, 'sidekey connect PROVIDER')],
      ),
      next !== null &&
        action('More accounts', async () => draw(await more('/v2/grants', { entries, next })), 'quiet'),
      bySession,
    );
  draw(await more('/v2/grants'));
};

interface SignIn {
  /** True if a sign-in at the issuer can connect services. */
  readonly keeps: boolean;
}

/** Returns a button that lists the services which the sign-in connects without a consent page. */
function bySignIn({ user, name: own }: Me): HTMLElement {
  const found = h('span');
  const connect = (provider: string) => async () => {
    const wanted = { provider, user: user ?? own };
    const { connect_url: link } = await call<{ connect_url: string }>('POST /v2/connect-sessions', wanted);
    location.assign(link);
  };
  const list = async () => {
    const services = await all<{ name: string; title: string }>('/v2/providers?flow=id_jag');
    const none = services.length === 0 && 'No service takes it.';
    fill(found, none, ...services.map(({ name, title }) => action(`Connect ${title}`, connect(name))));
  };
  return h('p', {}, action('Services of your sign-in', list, 'quiet'), ' ', found);
}

/** Returns further account names. Omits pictures, because the provider would learn who views this page. */
function otherNames({ account, account_details: details }: Shown): string {
  return Object.entries(details)
    .filter(([name, value]) => name !== 'picture' && value !== account)
    .map(([name, value]) => `${name === 'sub' ? 'id' : name.replaceAll('_', ' ')} ${value}`)
    .join(', ');
}

async function one(main: HTMLElement, me: Me, id: string): Promise<void> {
  const it = path`/v2/grants/${id}`;
  const [grant, used] = await Promise.all([
    call<Shown>(`GET ${it}`),
    me.scopes.includes('audit:read')
      ? call<{ data: Line[] }>(path`GET /v2/audit/events?grant=${id}&limit=50`)
      : { data: [] },
  ]);
  const again = () => one(main, me, id);
  const mayChange = me.scopes.includes('grants:write');
  const change = (request: string, body?: unknown) => async () => {
    await call(request, body);
    await again();
  };
  const { max_ttl: most, expires_at: end } = grant.settings;
  fill(
    main,
    h('p', {}, h('a', { href: '#grants' }, 'All accounts')),
    h('h2', {}, grant.name, ' ', badge(grant.state), ' ', grant.ends_soon && badge('ends_soon')),
    facts({
      account: grant.account,
      'also known as': otherNames(grant),
      user: grant.user,
      service: grant.provider,
      problem: grant.state_reason ?? grant.failure,
      scopes: grant.scopes.join(' '),
      'token ends': grant.refreshable ? 'is renewed before its end' : time(grant.expires_at, 'no end'),
      'access ends': time(end, 'no end'),
      'last use': time(grant.used_at),
      'may be sent to': grant.audience.join(', '),
    }),
    mayChange &&
      grant.state !== 'revoked' && [
        h('h3', {}, 'Change'),
        form(
          'Set the end',
          [
            field(
              most === null ? 'Access ends in' : `Access ends in (at most ${Math.floor(most / 86_400)} days)`,
              'expires',
              { placeholder: '30d', required: true },
            ),
          ],
          async ({ expires = '' }) => change(`PATCH ${it}`, { expires })(),
        ),
        grant.scopes.length > 1 && narrowing(grant, again),
        h(
          'p',
          {},
          grant.refreshable &&
            action('Renew the token now', change(`POST ${it}/refresh`, { force: true }), 'quiet'),
          confirmed(
            'End it here and at the service',
            `End ${grant.name}? Programs lose this access at once.`,
            change(`POST ${it}/revoke`, {}),
          ),
        ),
      ],
    h('h3', {}, 'Who used it, when, for what'),
    table(
      'Uses',
      ['Time', 'Agent', 'Request', 'Result', 'Reason'],
      used.data
        .filter(({ event }) => event !== 'access')
        .map((line) => [
          time(line.time),
          line.agent ?? '–',
          line.method === undefined ? line.event : `${line.method} ${line.host}${line.path ?? ''}`,
          line.status ?? line.outcome ?? '',
          line.reason ?? '',
        ]),
      'Nobody has used it yet.',
    ),
  );
}

/** Returns a form that removes scopes. If the provider cannot reduce a token, a new consent is needed. */
function narrowing(grant: Shown, again: () => Promise<void>): HTMLElement {
  const it = path`/v2/grants/${grant.id}`;
  const anew = h('div', { role: 'status' });
  const consent = async (scopes: readonly string[]) => {
    const { name, user, provider } = grant;
    const begin = async () =>
      call<{ connect_url: string }>('POST /v2/connect-sessions', { name, user, provider, scopes });
    // Throws before the revocation if no consent is possible. Sessions of a grant in force add its scopes.
    await begin();
    await call(`POST ${it}/revoke`, {});
    location.assign((await begin()).connect_url);
  };
  return h(
    'div',
    {},
    form(
      'Keep only these scopes',
      grant.scopes
        .filter((scope) => scope !== 'offline_access')
        .map((scope) =>
          h(
            'label',
            { class: 'inline' },
            h('input', { type: 'checkbox', name: scope, checked: true }),
            ` ${scope}`,
          ),
        ),
      async (values) => {
        const scopes = Object.keys(values);
        try {
          await call(`PATCH ${it}`, { scopes });
        } catch (error) {
          if (scopes.length > 0) {
            const question = `End ${grant.name}, and consent again with ${scopes.join(' ')} only?`;
            fill(
              anew,
              confirmed('End it and consent again', question, () => consent(scopes)),
            );
          }
          throw new Error((error as Error).message, { cause: error });
        }
        await again();
      },
    ),
    anew,
  );
}

/** Returns a button that asks for confirmation before its work. */
export function confirmed(label: string, question: string, work: () => Promise<unknown>): HTMLElement {
  const dialog: HTMLDialogElement = h(
    'dialog',
    { 'aria-label': question },
    h('p', {}, question),
    h(
      'p',
      {},
      action(
        label,
        async () => {
          await work();
          dialog.close();
        },
        'danger',
      ),
      h('button', { type: 'button', class: 'quiet', onclick: () => dialog.close() }, 'Cancel'),
    ),
  );
  return h(
    'span',
    {},
    h('button', { type: 'button', class: 'danger', onclick: () => dialog.showModal() }, label),
    dialog,
  );
}
