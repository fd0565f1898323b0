import type { Need } from '../status/finding.ts';
import type { Probed } from './probe.ts';

/** What to do about a program that does not work, by what was seen of it. */
export function adviceFor({ client, library, verdict, said }: Probed): Need | null {
  const title = titleOf({ client, library });
  const notes = client.notes.join(' ');
  const trust = client.variables
    .filter((name) => /CA|CERT|ROOT|JAVA|PHP|WGET|HGRC|APT/.test(name))
    .join(', ');
  const quoted = said === null ? '' : ` It said: ${said}`;
  switch (verdict) {
    case null:
    case 'works':
      return null;
    case 'untrusted':
      return {
        sentence: `${title} reaches the proxy and does not trust its CA, though ${trust === '' ? 'no variable tells it' : `${trust} names it`}.${quoted}`,
        hint: notes === '' ? 'look for a setting of its own that goes before the variable' : notes,
      };
    case 'unproxied':
      return {
        sentence: `${title} goes past the proxy, though HTTPS_PROXY names it.${quoted}`,
        hint: notes === '' ? 'look for a setting of its own that goes before the variable' : notes,
      };
    case 'unauthenticated':
      return {
        sentence: `${title} reaches the proxy and shows no token.${quoted}`,
        hint: 'set proxy.agents: optional in the config file, or give it a port of its own with "sidekey run"',
      };
    case 'failed':
      return { sentence: `${title} failed in a way that says nothing of the proxy.${quoted}`, hint: null };
    case 'slow':
      return {
        sentence: `${title} did not end in time.${quoted}`,
        hint: 'try again: the first run of a compiler takes long',
      };
  }
}

/** The first of a family (`Go, and what is written in it`) is what was asked, by one of its libraries where it has several. */
export function titleOf({ client, library }: Pick<Probed, 'client' | 'library'>): string {
  const [first = ''] = client.title.split(/[:,]/);
  return library === null ? first : `${first} (${library})`;
}
