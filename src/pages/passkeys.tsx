import type { JSX } from 'preact';
import { ApiError, call, path, startSession } from './api.ts';
import { Confirm, Field, Form, Time } from './parts.tsx';
import { Listed, usePages } from './rows.tsx';
import type { Passkey } from '../sdk/client/operations.ts';

/** Passkeys (WebAuthn level 3): sign-in, and the list of the signed-in person. */

/** Runs a ceremony of the authenticator. @throws ApiError if the person or the browser declined */
async function runCeremony(ceremony: () => Promise<Credential | null>): Promise<unknown> {
  try {
    const credential = await ceremony();
    if (credential !== null) return (credential as PublicKeyCredential).toJSON();
  } catch (error) {
    if ((error as Error).name === 'InvalidStateError')
      throw new ApiError(0, { detail: 'This device has a passkey of yours already.' });
  }
  throw new ApiError(0, { detail: 'No passkey was chosen.', hint: 'try again, or use another device' });
}

/** Signs a person in, and reloads the page. */
export async function signInWithPasskey(): Promise<void> {
  const options = await call<PublicKeyCredentialRequestOptionsJSON>('POST /sign-in/passkey/options');
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
  const answer = await runCeremony(() => navigator.credentials.get({ publicKey }));
  const { session } = await call<{ session: string }>('POST /sign-in/passkey', answer);
  startSession(session);
  location.reload();
}

/** The passkeys of the signed-in person. */
export function Passkeys(): JSX.Element {
  const passkeys = usePages<Passkey>('/v2/me/passkeys');
  const add = async ({ label = '' }) => {
    const options = await call<PublicKeyCredentialCreationOptionsJSON>('POST /v2/me/passkeys/options');
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
    const response = await runCeremony(() => navigator.credentials.create({ publicKey }));
    await passkeys.change('POST /v2/me/passkeys', { label, response });
  };
  return (
    <>
      <p>A passkey signs you in without a link. Your device asks for a PIN, a finger or your face.</p>
      <Listed
        of={passkeys}
        caption="Your passkeys"
        headings={['Name', 'Added', 'Last use', 'Actions']}
        row={({ id, label, created_at, used_at }) => [
          label,
          <Time at={created_at} />,
          <Time at={used_at} />,
          <Confirm
            label="Remove"
            question={`Remove the passkey ${label}? It signs you in no longer.`}
            run={() => passkeys.change(path`DELETE /v2/me/passkeys/${id}`)}
          />,
        ]}
        none="You have no passkeys yet."
      />
      <Form label="Add a passkey" submit={add}>
        <Field label="Name" name="label" required maxLength={60} placeholder="laptop" />
      </Form>
    </>
  );
}
