import type { Context } from '../context.ts';
import { findLogins, type FoundLogin, machineOf } from '../../operations/find-logins.ts';
import { confirm } from '../terminal.ts';
import type { Provider } from '../../domain/provider.ts';
import { SidekeyError } from '../../lib/errors.ts';

const maxMatches = 12;

const optional = { secret: false, isOptional: true } as const;

/** The provider, and the credential of this machine to use; null: none. */
interface Choice {
  readonly name: string;
  readonly login: FoundLogin | null;
}

/**
 * Prompts for a provider: first those with a credential on this machine, then a search of the catalog.
 *
 * @throws SidekeyError `input_invalid` if there is no terminal, or the answer is empty
 */
export async function chooseProvider(context: Context): Promise<Choice> {
  const { env, output } = context;
  if (context.ask === null) throw noChoice();
  const { providers } = await context.config();
  const found = await findLogins(machineOf(env), providers);
  if (found.length > 0) {
    output.say(
      ['Found on this machine:', ...found.map(({ provider, place }) => `  ${provider}: ${place}`)].join('\n'),
    );
  }
  const choice = await askProvider(context, 'Connect which provider? (its name, or a part of it)', found);
  if (choice === null) throw noChoice();
  return choice;
}

/** Prompts for a provider until the catalog has it; null: the answer is empty or no. */
export async function askProvider(
  { ask, openLines, output, ...context }: Context,
  question: string,
  found: readonly FoundLogin[] = [],
): Promise<Choice | null> {
  const { providers } = await context.config();
  for (;;) {
    const written = (await ask?.(question, optional)) ?? '';
    if (/^(?:|no?|none)$/i.test(written)) return null;
    const text = written.toLowerCase();
    const matches = providers.names.filter((name) => name.includes(text));
    const [only, ...others] = matches.includes(text) ? [text] : matches;
    if (only !== undefined && others.length === 0) {
      const login = found.find(({ provider }) => provider === only);
      const isUsed = login !== undefined && (await confirm(openLines, `Use ${login.place}?`, true));
      return { name: only, login: isUsed ? login : null };
    }
    const shown = matches.slice(0, maxMatches).join(', ');
    output.say(
      only === undefined
        ? `No provider has ${JSON.stringify(text)} in its name.`
        : `${shown}${matches.length > maxMatches ? `, and ${matches.length - maxMatches} more` : ''}`,
    );
  }
}

/**
 * Prompts for the scopes of a consent, from the catalog of the provider.
 *
 * @returns the scopes; undefined: the provider's default scopes
 */
export async function chooseScopes(
  { ask, output }: Context,
  { title, scopes, knownScopes }: Provider,
): Promise<readonly string[] | undefined> {
  if (ask === null || knownScopes.length === 0) return undefined;
  output.say(
    [
      `Which access to ${title}?`,
      ...knownScopes.map(
        ({ name, what }, index) =>
          `  ${index + 1}. ${what}: ${name}${scopes.includes(name) ? ' (default)' : ''}`,
      ),
    ].join('\n'),
  );
  for (;;) {
    const text = await ask('Numbers with commas, added to the default (Enter: the default)', optional);
    const chosen = text.split(/[\s,]+/).filter((number) => number !== '');
    if (chosen.length === 0) return undefined;
    const names = chosen.flatMap((number) => knownScopes[Number(number) - 1]?.name ?? []);
    if (names.length === chosen.length) return [...new Set([...scopes, ...names])];
    output.say(`Enter numbers from 1 to ${knownScopes.length}.`);
  }
}

/** Prompts for one of the login servers of an API; undefined: there is no terminal, or no answer. */
export async function chooseServer(
  { ask, output }: Context,
  servers: readonly string[],
): Promise<string | undefined> {
  if (ask === null) return undefined;
  output.say(['Where is your account?', ...servers.map((url, index) => `  ${index + 1}. ${url}`)].join('\n'));
  return servers[Number(await ask('Number of the login server', optional)) - 1];
}

function noChoice(): SidekeyError {
  return new SidekeyError('input_invalid', 'connect needs the name of a provider.', {
    hint: 'sidekey connect github --token, for example; "sidekey provider list" shows all providers',
  });
}
