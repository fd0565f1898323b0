import { call, type Me } from './api.ts';
import { action, fill, h } from './dom.ts';

/** Confirms `sidekey login` with the person. The address has the port, challenge and state of the CLI. */
export async function login(main: HTMLElement, { name, role }: Me): Promise<void> {
  const [, port, challenge, state] =
    /^#login\/(\d{1,5})\/([\w-]{43})\/([\w-]{22,64})$/.exec(location.hash) ?? [];
  if (port === undefined || challenge === undefined || state === undefined) {
    fill(main, h('p', {}, 'This address is not complete. Run the command again: sidekey login'));
    return;
  }
  const allow = async () => {
    const { code } = await call<{ code: string }>('POST /v2/me/login-codes', { challenge });
    location.assign(`http://127.0.0.1:${port}/callback?${new URLSearchParams({ code, state }).toString()}`);
  };
  fill(
    main,
    h('p', {}, `The command line on this computer wants to act as ${name} (${role}) for up to 12 hours.`),
    h('p', {}, action('Allow', allow)),
    h('p', {}, 'Allow it only if you ran "sidekey login" yourself. Otherwise close this window.'),
  );
}
