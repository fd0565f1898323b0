import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { call, path } from './api.ts';
import { Check, Confirm, Field, Form } from './parts.tsx';
import { connectInPopup } from './popup.ts';
import { Action } from './remedy.tsx';
import type { Resource } from './resource.ts';
import { words } from './rule-fields.ts';
import type { Service } from './ways.tsx';
import type { Grant } from '../sdk/client/operations.ts';

/** Changes of a connected account: its end, its scopes, its consent and its token. */

/** The account of a page. */
export interface Account extends Pick<Resource<unknown>, 'reload' | 'change'> {
  readonly grant: Grant;
  /** Null: the config no longer has the provider. */
  readonly provider: Service | null;
  /** Name of the service for people. */
  readonly title: string;
}

/** Opens the consent in a popup, and reads the account again. @throws Error if there is no consent */
export async function consent(
  { grant: { name, user, provider }, reload }: Account,
  scopes?: readonly string[],
  before?: () => Promise<unknown>,
): Promise<void> {
  try {
    await connectInPopup({ name, user, provider, scopes }, before);
  } finally {
    await reload();
  }
}

/** Renews the token, and reads the account again. @throws ApiError */
export async function renew({ grant: { id }, reload }: Account): Promise<void> {
  try {
    await call(path`POST /v2/grants/${id}/refresh`, { force: true });
  } finally {
    await reload();
  }
}

interface ChangesProps {
  readonly account: Account;
  /** Gets a sentence with the result of the end. */
  readonly ended: (sentence: string) => void;
}

/** All changes that a person may make. */
export function Changes({ account, ended }: ChangesProps): JSX.Element {
  const { grant, provider, change } = account;
  const { max_ttl: most } = grant.settings;
  const label = `Access ends in${most === null ? '' : ` (at most ${Math.floor(most / 86_400)} days)`}`;
  const isConsented = grant.type === 'oauth2';
  return (
    <>
      <h2>Change</h2>
      <Form label="Set the end" submit={(values) => change(path`PATCH /v2/grants/${grant.id}`, values)}>
        <Field label={label} name="expires" placeholder="30d" required />
      </Form>
      {grant.scopes.length > 1 && <Narrowing {...account} />}
      {isConsented && (
        <Form label="Ask for more" submit={({ scopes = '' }) => consent(account, words(scopes))}>
          <Field label="Further scopes" name="scopes" list="known-scopes" required />
          <datalist id="known-scopes">
            {Object.entries(provider?.known_scopes ?? {}).map(([name, what]) => (
              <option key={name} value={name} label={what} />
            ))}
          </datalist>
        </Form>
      )}
      {grant.refreshable && <Action label="Renew the token now" kind="quiet" run={() => renew(account)} />}
      {isConsented && <Action label="Consent again" kind="quiet" run={() => consent(account)} />}
      <Ending account={account} ended={ended} />
    </>
  );
}

/** Removes scopes. If the provider cannot reduce a token, a new consent is needed. */
function Narrowing(account: Account): JSX.Element {
  const { grant, provider, change } = account;
  const [left, setLeft] = useState<readonly string[]>([]);
  const narrow = async (values: Readonly<Record<string, string>>) => {
    const scopes = Object.keys(values);
    setLeft([]);
    await change(path`PATCH /v2/grants/${grant.id}`, { scopes }).catch((error) => {
      setLeft(scopes);
      throw error;
    });
  };
  const before = async () => {
    const { name, user, provider: service } = grant;
    // Throws before the revocation if no consent is possible. Sessions of a grant in force add its scopes.
    await call('POST /v2/connect-sessions', { name, user, provider: service, scopes: left });
    await call(path`POST /v2/grants/${grant.id}/revoke`, {});
  };
  return (
    <>
      <Form label="Keep only these scopes" submit={narrow} keep>
        {grant.scopes
          .filter((scope) => scope !== 'offline_access')
          .map((scope) => (
            <Check
              key={scope}
              label={[scope, <small>{provider?.known_scopes[scope]}</small>]}
              name={scope}
              defaultChecked
            />
          ))}
      </Form>
      {left.length > 0 && (
        <Confirm
          label="End it and consent again"
          question={`End ${grant.name}, and consent again with ${left.join(' ')} only?`}
          run={() => consent(account, left, before)}
        />
      )}
    </>
  );
}

/** A button that ends the access here and at the service. */
function Ending({ account: { grant, provider, title, change }, ended }: ChangesProps): JSX.Element {
  const reasons: Readonly<Record<string, string>> = {
    'not told': ` ${title} offers no way to end it from here.`,
    failed: ` ${title} did not confirm it.`,
  };
  const end = async () => {
    const { at_provider: kind } = await change<{ at_provider: string | null }>(
      path`POST /v2/grants/${grant.id}/revoke`,
      {},
    );
    if (kind === 'ended') ended(`The access has ended here and at ${title}.`);
    else
      ended(
        `The access has ended here.${reasons[kind ?? ''] ?? ''} Remove it in your account at ${title} too.`,
      );
  };
  const beyond = provider?.revocation_endpoint == null ? ` ${title} is not told: remove it there too.` : '';
  return (
    <Confirm
      label="End it here and at the service"
      question={`End ${grant.name}? Programs lose this access at once.${beyond}`}
      run={end}
    />
  );
}
