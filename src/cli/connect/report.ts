import { displayName } from '../../config/problem.ts';
import { accountOf } from '../../domain/credential.ts';
import { stateNow, titleOf } from '../../domain/grant.ts';
import type { Probe, Provider } from '../../domain/provider.ts';
import { withHint } from '../../lib/hint.ts';
import { shellWord } from '../../lib/text.ts';
import { allowCommand } from '../../operations/connect/domains.ts';
import type { Connected } from '../../operations/connect/finish.ts';
import { expiryOf } from '../../operations/format.ts';
import { grantAnswer } from '../../operations/grant-answer.ts';
import type { Context } from '../context.ts';
import { details as lines } from '../display.ts';
import { accountText, scopesOf } from '../grant/format.ts';
import type { FinishPage } from './browser/browser.ts';

/** Prints a connected grant, its warnings, and the next steps. */
export async function report(
  context: Context,
  { title, probe }: Provider,
  connected: Connected,
): Promise<void> {
  const { output, now, configFile } = context;
  const { grant, replaced, audience, details, edits, ungranted, warnings, verification } = connected;
  const at = now();
  const file = await configFile();
  const said = edits.every(({ change }) => change === 'added') ? 'added to' : 'now in';
  output.result(
    {
      ...grantAnswer(grant, at),
      audience,
      account: accountOf(details),
      account_details: details,
      verified: verification.verified,
      replaced,
      ungranted_scopes: ungranted,
      domains: edits.map(({ pattern }) => pattern),
      warnings: warnings.map(({ sentence }) => sentence),
    },
    lines(output.display, replaced ? `Connected ${titleOf(grant)} again.` : `Connected ${titleOf(grant)}.`, {
      id: grant.id,
      provider: title === grant.provider ? title : `${grant.provider}: ${title}`,
      user: grant.user,
      account: accountText(details),
      state: stateNow(grant, at),
      check: verification.says,
      scopes: scopesOf(grant),
      expires: `${expiryOf(grant, at)}${grant.refreshable && grant.expiresAt !== null ? ', and is renewed before' : ''}`,
      audience: audience.join(', '),
      domains:
        edits.length === 0
          ? null
          : `${edits.map(({ pattern }) => pattern).join(', ')} (${said} ${displayName(file)})`,
    }) + nextSteps(connected, probe),
  );
  for (const { sentence, hint } of warnings) output.say(withHint(`Note: ${sentence}`, hint));
}

/** Returns the first call, and for a second account the options that select it. */
function nextSteps(
  { grant: { name }, audience, edits, others, reference }: Connected,
  probe: Probe | null,
): string {
  const first = others.find((grant) => grant.name === reference);
  // An existing entry may name another grant. A note reports it.
  const isSecond = name !== reference && (first !== undefined || edits.length > 0);
  const call = probe === null || probe.json !== null ? null : probe.url;
  const selected = isSecond ? ` --grant ${name}` : '';
  const fields = Object.entries(probe?.headers ?? {}).map(
    ([key, text]) => ` -H ${shellWord(`${key}: ${text}`)}`,
  );
  const [host] = call === null ? audience.filter((text) => !text.includes('*')) : [new URL(call).host];
  const steps: string[] = [];
  if (call !== null)
    steps.push('The first call:', `  → sidekey fetch ${shellWord(call)}${fields.join('')}${selected}`);
  else if (host !== undefined)
    steps.push('The first call, with a path of the API:', `  → sidekey fetch https://${host}/${selected}`);
  if (isSecond) {
    steps.push(
      first === undefined
        ? `No grant is called ${reference}: each request must choose an account.`
        : `The grant ${first.name} stays the default. To use this account:`,
      `  → sidekey run --grant ${name} -- COMMAND`,
      `  → "+grant=${name}" in the user name of the proxy`,
    );
    if (host !== undefined) steps.push(`  → ${allowCommand(host, name)}   (for every request to it)`);
  }
  return steps.map((line) => `\n${line}`).join('');
}

/** Returns the last page of the browser, for a provider. */
export function connectedPage({ title }: Provider): (connected: Connected) => Omit<FinishPage, 'kind'> {
  return ({ grant, warnings }) => ({
    title: `${title} is connected`,
    says: [
      `The grant is called ${titleOf(grant)}.${grant.refreshable ? ' Sidekey renews its token.' : ''}`,
      ...warnings.map(({ sentence }) => sentence),
      'You may close this window.',
    ],
  });
}
