import { all, call, path, type Me } from './api.ts';
import { action, badge, choice, field, fill, form, h, table, time } from './dom.ts';
import { confirmed } from './grants.ts';

interface Person {
  readonly name: string;
  readonly role: string;
  readonly user: string | null;
  readonly state: string;
}

interface Key {
  readonly name: string;
  readonly role: string;
  readonly scopes: readonly string[] | null;
  readonly user: string | null;
  readonly expires_at: string | null;
  readonly used_at: string | null;
}

const roles = ['operator', 'approver', 'auditor', 'user'];

/** People who sign in, and keys of programs. Shows each link and key once. */
export async function people(main: HTMLElement, me: Me): Promise<void> {
  const [persons, keys] = await Promise.all([all<Person>('/v2/people'), all<Key>('/v2/api-keys')]);
  const mayChange = me.scopes.includes('config:write');
  const again = async () => people(main, me);
  // The view may have been redrawn meanwhile.
  const show = (sentence: string, secret: string) =>
    fill(main.firstElementChild ?? main, h('p', { class: 'once' }, sentence, h('code', {}, secret)));
  fill(
    main,
    h('div', { role: 'status' }),
    table(
      'People',
      ['Name', 'Role', 'User', 'State', 'Actions'],
      persons.map(({ name, role, user, state }) => [
        name,
        role,
        user ?? '–',
        badge(state),
        mayChange && [
          action(
            'Link to sign in',
            async () => {
              const { url } = await call<{ url: string }>(path`POST /v2/people/${name}/link`);
              show(`Give this address to ${name}. It works once, within 10 minutes:`, url);
            },
            'quiet',
          ),
          action(
            state === 'enabled' ? 'Disable' : 'Enable',
            async () => {
              await call(path`PATCH /v2/people/${name}`, { disabled: state === 'enabled' });
              await again();
            },
            'quiet',
          ),
          confirmed('Remove', `Remove ${name}, with sessions and keys?`, async () => {
            await call(path`DELETE /v2/people/${name}`);
            await again();
          }),
        ],
      ]),
      'Nobody signs in yet.',
    ),
    mayChange &&
      form(
        'Add a person',
        [field('Name', 'name', { required: true }), choice('Role', 'role', roles, 'user')],
        async (values) => {
          await call('POST /v2/people', values);
          await again();
        },
      ),
    h('h2', {}, 'API keys'),
    table(
      'API keys',
      ['Name', 'Role', 'Scopes', 'User', 'Ends', 'Last use', 'Actions'],
      keys.map(({ name, role, scopes, user, expires_at, used_at }) => [
        name,
        role,
        scopes?.join(' ') ?? 'all of the role',
        user ?? '–',
        time(expires_at),
        time(used_at),
        mayChange &&
          confirmed('Revoke', `Revoke the key ${name}? Programs with it are refused at once.`, async () => {
            await call(path`DELETE /v2/api-keys/${name}`);
            await again();
          }),
      ]),
      'There are no keys.',
    ),
    mayChange &&
      form(
        'Create a key',
        [
          field('Name', 'name', { required: true }),
          choice('Role', 'role', roles, 'operator'),
          field('User', 'user', { placeholder: 'all users' }),
          field('Ends', 'expires', { placeholder: '90d' }),
        ],
        async (values) => {
          const { key } = await call<{ key: string }>('POST /v2/api-keys', values);
          await again();
          show('Copy the key now. It is shown only once:', key);
        },
      ),
  );
}
