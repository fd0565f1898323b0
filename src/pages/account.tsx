import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { call, path } from './api.ts';
import { Icon } from './icon.tsx';
import { Badge, Check, Confirm, Field, Form, Loaded } from './parts.tsx';
import { connectInPopup } from './popup.ts';
import { useResource } from './resource.ts';
import { Uses } from './uses.tsx';
import type { Service } from './ways.tsx';
import type { Grant, Me } from '../sdk/client/operations.ts';

/** One connected account: what the pages of operators and of its own person share. */

interface Whole {
  readonly grant: Grant;
  /** Null: the config no longer has the provider. */
  readonly provider: Service | null;
}

/** Returns the provider of an account; null: the config no longer has it. */
export async function providerOf(name: string, signal: AbortSignal): Promise<Service | null> {
  return call<Service>(path`GET /v2/providers/${name}`, undefined, signal).catch(() => null);
}

/** Consent of an account, again or with further scopes. */
interface Wish extends PartProps {
  readonly scopes?: readonly string[] | undefined;
  readonly before?: () => Promise<unknown>;
}

/** Opens the consent in a popup, and reads the account again. @throws Error if there is no consent */
export async function consent({ of: { grant }, reload, scopes, before }: Wish): Promise<void> {
  const { name, user, provider } = grant;
  try {
    await connectInPopup({ name, user, provider, scopes }, before);
  } finally {
    await reload();
  }
}

/** Returns further names of the account. Omits pictures: the provider would learn who views this page. */
export function otherNames({ account, account_details: details }: Grant): string {
  return Object.entries(details)
    .filter(([name, value]) => name !== 'picture' && value !== account)
    .map(([name, value]) => `${name === 'sub' ? 'id' : name.replaceAll('_', ' ')} ${value}`)
    .join(', ');
}

export interface PartProps {
  readonly of: Whole;
  readonly reload: () => Promise<void>;
}

interface OneProps {
  readonly id: string;
  readonly me: Me;
  /** Link to the list. */
  readonly back: JSX.Element;
  readonly content: (props: PartProps) => JSX.Element;
  /** The changes that the page offers besides the end. */
  readonly changes?: (props: PartProps) => JSX.Element;
}

/** The page of one account, with its end and its uses. */
export function One({ id, me, back, content: Content, changes: Changes }: OneProps): JSX.Element {
  const account = useResource(
    async (signal): Promise<Whole> => {
      const grant = await call<Grant>(path`GET /v2/grants/${id}`, undefined, signal);
      return { grant, provider: await providerOf(grant.provider, signal) };
    },
    [id],
  );
  const [note, setNote] = useState('');
  const ended = async (sentence: string) => {
    await account.reload();
    setNote(sentence);
  };
  return (
    <>
      <p class="back">{back}</p>
      {note !== '' && (
        <p class="banner" role="status">
          {note}
        </p>
      )}
      <Loaded of={account} skeleton={10}>
        {(of) => (
          <>
            <h2>
              <Icon provider={of.grant.provider} title={titleOf(of)} /> {of.grant.name}{' '}
              <Badge state={of.grant.state} /> {of.grant.ends_soon && <Badge state="ends_soon" />}
            </h2>
            <Content of={of} reload={account.reload} />
            {of.grant.minted.length > 0 && (
              <p class="muted">
                {`Responses gave programs credentials that end with it: ${of.grant.minted.map(({ name }) => name).join(', ')}.`}
              </p>
            )}
            {me.scopes.includes('grants:write') && of.grant.state !== 'revoked' && (
              <>
                <h2>Change</h2>
                <EndForm of={of} reload={account.reload} />
                {of.grant.scopes.length > 1 && <Narrowing of={of} reload={account.reload} />}
                {Changes !== undefined && <Changes of={of} reload={account.reload} />}
                <Ending of={of} ended={ended} />
              </>
            )}
            {me.scopes.includes('audit:read') && (
              <Uses
                // Changes and failures of the account are among its events.
                key={`${of.grant.revision} ${of.grant.failed_at}`}
                of={path`grant=${of.grant.id}`}
                title="Who used it, when, for what"
              />
            )}
          </>
        )}
      </Loaded>
    </>
  );
}

/** Returns the name of the service for people. */
export function titleOf({ grant, provider }: Whole): string {
  return provider?.title ?? grant.provider;
}

function EndForm({ of: { grant }, reload }: PartProps): JSX.Element {
  const { max_ttl: most } = grant.settings;
  const set = async ({ expires = '' }) => {
    await call(path`PATCH /v2/grants/${grant.id}`, { expires });
    await reload();
  };
  const label = `Access ends in${most === null ? '' : ` (at most ${Math.floor(most / 86_400)} days)`}`;
  return (
    <Form label="Set the end" submit={set}>
      <Field label={label} name="expires" placeholder="30d" required />
    </Form>
  );
}

/** Removes scopes. If the provider cannot reduce a token, a new consent is needed. */
function Narrowing({ of, reload }: PartProps): JSX.Element {
  const { grant, provider } = of;
  const [left, setLeft] = useState<readonly string[]>([]);
  const narrow = async (values: Readonly<Record<string, string>>) => {
    const scopes = Object.keys(values);
    setLeft([]);
    try {
      await call(path`PATCH /v2/grants/${grant.id}`, { scopes });
    } catch (error) {
      setLeft(scopes);
      throw error;
    }
    await reload();
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
          run={() => consent({ of, reload, scopes: left, before })}
        />
      )}
    </>
  );
}

const ends: Readonly<Record<string, (title: string) => string>> = {
  ended: (title) => `The access has ended here and at ${title}.`,
  'not told': (title) => `The access has ended here. ${title} offers no way to end it from here.`,
  failed: (title) => `The access has ended here, but ${title} did not confirm it.`,
};

/** A button that ends the access here and at the service. */
function Ending({
  of,
  ended,
}: {
  readonly of: Whole;
  /** Gets a sentence with the result. */
  readonly ended: (sentence: string) => unknown;
}): JSX.Element {
  const { grant, provider } = of;
  const title = titleOf(of);
  const end = async () => {
    const { at_provider: kind } = await call<{ at_provider: string | null }>(
      path`POST /v2/grants/${grant.id}/revoke`,
      {},
    );
    const sentence = ends[kind ?? '']?.(title) ?? 'The access has ended.';
    await ended(kind === 'ended' ? sentence : `${sentence} Remove it in your account at ${title} too.`);
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
