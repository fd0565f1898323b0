import { displayName } from '../../config/problem.ts';
import type { Provider } from '../../grants/provider.ts';
import { stateNow } from '../../grants/state-now.ts';
import type { Context } from '../context.ts';
import { accountOf, expiryOf, grantJson, scopesOf, titleOf } from '../grant/words.ts';
import { details as lines } from '../table.ts';
import type { FinishPage } from './finish-page.ts';
import type { Connected } from './settle.ts';

/** The result of a connect, for a person or for a program. */
export async function report(context: Context, { title }: Provider, connected: Connected): Promise<void> {
  const { output, now, configFile } = context;
  const { grant, replaced, audience, details, edits, ungranted, warnings } = connected;
  const at = now();
  const file = await configFile();
  const said = edits.every(({ change }) => change === 'added') ? 'added to' : 'now in';
  output.result(
    {
      ...grantJson(grant, at),
      audience,
      account: details,
      replaced,
      ungranted_scopes: ungranted,
      domains: edits.map(({ pattern }) => pattern),
      warnings: warnings.map(({ sentence }) => sentence),
    },
    lines(replaced ? `Connected ${titleOf(grant)} again.` : `Connected ${titleOf(grant)}.`, {
      id: grant.id,
      provider: title === grant.provider ? title : `${grant.provider}: ${title}`,
      user: grant.user,
      account: accountOf(details),
      state: stateNow(grant, at),
      scopes: scopesOf(grant),
      expires: `${expiryOf(grant, at)}${grant.refreshable && grant.expiresAt !== null ? ', and is renewed before' : ''}`,
      audience: audience.join(', '),
      domains:
        edits.length === 0
          ? null
          : `${edits.map(({ pattern }) => pattern).join(', ')} (${said} ${displayName(file, process.cwd())})`,
    }),
  );
  for (const { sentence, hint } of warnings)
    output.say(`Note: ${sentence}${hint === null ? '' : `\n  → ${hint}`}`);
}

/** What the browser shows. */
export function connectedPage({ title }: Provider, { grant, warnings }: Connected): Omit<FinishPage, 'kind'> {
  return {
    title: `${title} is connected`,
    says: [
      `The grant is called ${titleOf(grant)}.${grant.refreshable ? ' Sidekey renews its token by itself.' : ''}`,
      ...warnings.map(({ sentence }) => sentence),
      'You may close this window.',
    ],
  };
}
