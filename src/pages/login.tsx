import type { JSX } from 'preact';
import { asTyped, call, type PageProps, person } from './api.ts';
import { Action } from './remedy.tsx';

/** Confirms `sidekey login` with the person. The address has the port, challenge and state of the CLI. */
export function Login({ args }: PageProps): JSX.Element {
  const [, port, challenge, state] = /^(\d{1,5})\/([\w-]{43})\/([\w-]{22,64})$/.exec(args.join('/')) ?? [];
  if (port === undefined || challenge === undefined || state === undefined)
    return <p>{asTyped('This address is not complete. Run the command again: sidekey login')}</p>;
  const { name, role } = person.value!;
  const allow = async () => {
    const { code } = await call<{ code: string }>('POST /v2/me/login-codes', { challenge });
    location.assign(`http://127.0.0.1:${port}/callback?${new URLSearchParams({ code, state }).toString()}`);
  };
  return (
    <section class="card">
      <p>{`The command line on this computer wants to act as ${name} (${role}) for up to 12 hours.`}</p>
      <p>
        <Action label="Allow" run={allow} />
      </p>
      <p>{asTyped('Allow it only if you ran "sidekey login" yourself. Otherwise close this window.')}</p>
    </section>
  );
}
