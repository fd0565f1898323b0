import type { Provider } from '../domain/provider.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintText, remedy } from '../lib/hint.ts';
import { shellQuoted } from '../lib/text.ts';
import type { Mint } from '../proxy/placeholders/codes.ts';

/** Names of the syntaxes in which variables can be written. */
export const shells = ['bash', 'fish', 'powershell', 'dotenv', 'json', 'docker'] as const;

/** One of `shells`. */
export type Shell = (typeof shells)[number];

interface VariableChange {
  readonly set: Readonly<Record<string, string>>;
  readonly remove: readonly string[];
}

/** Variable of a shell with the names that `env` changed there, so that `--unset` can restore them. */
export const changedNames = 'SIDEKEY_ENV';

/**
 * Returns text that makes the change in a shell, or in a file that a program reads. `bash` suits every POSIX
 * shell, including zsh. `dotenv` and `docker` cannot remove a variable. A shell keeps the former values in
 * variables that are not exported, because they may be credentials.
 *
 * @param before value of `changedNames` in the shell
 * @throws SidekeyError `input_invalid` if a name is invalid, or the form cannot hold a value
 */
export function renderVariables(shell: Shell, { set, remove }: VariableChange, before = ''): string {
  const pairs = Object.entries(set);
  const names = [...remove, ...pairs.map(([name]) => name)];
  if (!names.every(isVariableName)) throw unfit(shell, 'A variable', 'has a name that is none');
  for (const [name, value] of pairs) {
    if (value.includes('\0')) throw unfit(shell, name, 'has a NUL in it');
  }
  if (shell === 'json') return `${JSON.stringify({ set, remove }, null, 2)}\n`;
  const { unset, assign, save } = forms[shell];
  const present = namesIn(before);
  const saved = save === undefined ? [] : names.filter((name) => !present.includes(name));
  const lines = [
    ...saved.flatMap((name) => save?.(name) ?? []),
    ...remove.flatMap(unset),
    ...pairs.map(([name, value]) => assign(name, value)),
    ...(save === undefined ? [] : [assign(changedNames, [...present, ...saved].join(' '))]),
  ];
  return lines.map((line) => `${line}\n`).join('');
}

/**
 * Returns text that restores the variables that `renderVariables` changed in a shell; null: it changed none.
 *
 * @param before value of `changedNames` in the shell
 * @throws SidekeyError `input_invalid` if the form is no shell
 */
export function renderRestored(shell: Shell, before = ''): string | null {
  const restore = shell === 'json' ? undefined : forms[shell].restore;
  if (restore === undefined) throw unfit(shell, '--unset', 'is for a shell');
  const names = namesIn(before);
  return names.length === 0 ? null : [...names, changedNames].map((name) => `${restore(name)}\n`).join('');
}

function namesIn(text: string): readonly string[] {
  return text.split(' ').filter(isVariableName);
}

function isVariableName(name: string): boolean {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(name);
}

/** Returns the shell of the user: from `$SHELL`, or the default of the platform. */
export function shellOf(env: NodeJS.ProcessEnv, platform: NodeJS.Platform): Shell {
  const name = (env['SHELL'] ?? '').split('/').at(-1) ?? '';
  if (name === 'fish') return 'fish';
  if (name === 'pwsh') return 'powershell';
  return name === '' && platform === 'win32' ? 'powershell' : 'bash';
}

interface Form {
  readonly unset: (name: string) => string[];
  readonly assign: (name: string, value: string) => string;
  /** Keeps the value that a variable has, and brings it back; a variable without a kept value is removed. */
  readonly save?: (name: string) => string;
  readonly restore?: (name: string) => string;
}

const forms: Readonly<Record<Exclude<Shell, 'json'>, Form>> = {
  bash: {
    unset: (name) => [`unset ${name}`],
    assign: (name, value) => `export ${name}=${shellQuoted(value)}`,
    save: (name) => `[ -z "\${${name}+x}" ] || _sidekey_was_${name}="$${name}"`,
    restore: (name) =>
      `if [ -n "\${_sidekey_was_${name}+x}" ]; then export ${name}="$_sidekey_was_${name}"; else unset ${name}; fi; unset _sidekey_was_${name}`,
  },
  fish: {
    unset: (name) => [`set -e ${name}`],
    // fish unescapes only `\\` and `\'` in single quotes.
    assign: (name, value) => `set -gx ${name} '${value.replaceAll(/[\\']/g, '\\$&')}'`,
    // fish takes a variable whose name ends with PATH for a list, hence the underscore at the end.
    save: (name) => `if set -q ${name}; set -g _sidekey_was_${name}_ "$${name}"; end`,
    restore: (name) =>
      `if set -q _sidekey_was_${name}_; set -gx ${name} "$_sidekey_was_${name}_"; else; set -e ${name}; end; set -e _sidekey_was_${name}_`,
  },
  powershell: {
    unset: (name) => [`Remove-Item Env:${name} -ErrorAction Ignore`],
    // PowerShell treats typographic quotes as straight ones (about_Quoting_Rules).
    save: (name) => `$global:_sidekey_was_${name} = $env:${name}`,
    restore: (name) =>
      `$env:${name} = Get-Variable _sidekey_was_${name} -Scope Global -ValueOnly -ErrorAction Ignore; Remove-Variable _sidekey_was_${name} -Scope Global -ErrorAction Ignore`,
    assign: (name, value) => `$env:${name} = '${value.replaceAll(/['\u2018-\u201b]/g, '$&$&')}'`,
  },
  dotenv: {
    unset: () => [],
    assign: (name, value) => `${name}=${dotenvValue(name, value)}`,
  },
  docker: {
    unset: () => [],
    // The rest of the line is literal: docker/cli, opts/file.go.
    assign: (name, value) => {
      if (/[\r\n]/.test(value)) throw unfit('docker', name, 'has a line break in it');
      return `${name}=${value}`;
    },
  },
};

/**
 * Quotes a value for files that have no standard. All readers take single-quoted values literally. A value
 * with a single quote needs backticks or double quotes, in which some readers expand `$` and `\`.
 */
function dotenvValue(name: string, value: string): string {
  if (value.includes('\r')) throw unfit('dotenv', name, 'has a carriage return in it');
  if (!value.includes("'")) return `'${value}'`;
  if (!value.includes('"') && !/[\\$]/.test(value)) return `"${value}"`;
  if (!value.includes('`')) return `\`${value}\``;
  throw unfit('dotenv', name, 'has every kind of quote in it');
}

/** Returns an error that names the variable, but not its value. */
function unfit(shell: Shell, name: string, problem: string): SidekeyError {
  return new SidekeyError('input_invalid', `${name} ${problem}, which ${shell} cannot say.`, {
    hint: remedy('environment.print', { shell: 'json' }),
  });
}

/** The possible owners of a credential in the parent's environment. */
export interface WithheldFacts {
  readonly parent: NodeJS.ProcessEnv;
  /** All known providers, with the variables that hold their credentials. */
  readonly providers: readonly Pick<Provider, 'name' | 'environment'>[];
  /**
   * Providers for which the child reaches a grant, with the name of the grant; the first of several with the
   * same variable gets it. Null if unknown, because the token of the child is not ours.
   */
  readonly reachable: ReadonlyMap<string, string> | null;
  /** Variables with secrets of Sidekey: `environmentReferences` of the config. */
  readonly references?: readonly string[];
  /** URL of the proxy, with the token of the child if it has one. */
  readonly proxyUrl?: string;
  /** Creates the placeholders of the child; absent: placeholders of the provider definition. */
  readonly mint?: Mint | undefined;
  /** Variables that the child always keeps. */
  readonly keep?: readonly string[];
}

interface Withheld {
  /** Variables of the parent that are removed; none is in `set`. In order. */
  readonly remove: readonly string[];
  /** Placeholders: they have the form that clients expect, but grant nothing. */
  readonly set: Readonly<Record<string, string>>;
  /** One line about variables of the parent that were removed, replaced or look secret; null if none. */
  readonly note: string | null;
}

/** Names of variables that hold secrets. */
const secretName = /(?:^|_)(?:PASSWORD|PASSWD|SECRET|SECRET_KEY|TOKEN|API_?KEY|PRIVATE_KEY)$/;

/** Names of variables by which programs ask the machine for an identity. */
const identityName = /^(?:ACTIONS_ID|MSI)_/;

/** Variables of Sidekey that hold no secret. */
const harmless = ['SIDEKEY_CONFIG', 'SIDEKEY_HOME', 'SIDEKEY_BROWSER', changedNames];

/**
 * Removes credentials from an environment: those of all known providers, with or without a grant, and those
 * of Sidekey. The audit log cannot record the use of a credential that the child holds.
 */
export function withheld({
  parent,
  providers,
  reachable,
  references = [],
  keep = [],
  proxyUrl = 'http://localhost',
  mint = (_provider, template) => template,
}: WithheldFacts): Withheld {
  const { host, password } = new URL(proxyUrl);
  // SDKs do not use their endpoint without a token.
  const filled = (text: string) => text.replace('{proxy}', host).replace('{token}', password || 'none');
  const keptNames = new Set(keep);
  const variables = providers.flatMap(({ name: provider, environment }) =>
    environment
      .filter(
        ({ name, placeholder }) => !keptNames.has(name) && (placeholder !== '' || reachable?.has(provider)),
      )
      .map((variable) => ({ ...variable, provider })),
  );
  const order = [...(reachable?.keys() ?? [])].toReversed();
  // The last of several providers with the same variable takes precedence.
  const ranked = variables.toSorted(
    (one, other) => order.indexOf(one.provider) - order.indexOf(other.provider),
  );
  const set = Object.fromEntries(
    ranked.flatMap(({ name, placeholder, provider }) =>
      placeholder !== null && placeholder !== '' && reachable?.has(provider) === true
        ? [[name, filled(mint(provider, placeholder))] as const]
        : [],
    ),
  );
  const ours = Object.keys(parent).filter(
    (name) => name.startsWith('SIDEKEY_') && !harmless.includes(name) && !keptNames.has(name),
  );
  const taken = new Set(
    [...variables.map(({ name }) => name), ...references.filter((name) => !keptNames.has(name)), ...ours]
      .filter((name) => parent[name] !== undefined && parent[name] !== '')
      .toSorted(),
  );
  const words = [...taken].map((name) => {
    const owners = ranked.filter((each) => each.name === name);
    const owner = owners.findLast(({ provider }) => reachable?.has(provider)) ?? owners[0];
    const ofClient = ranked.find((each) => each.name === name && each.isClientSecret === true);
    if (ofClient !== undefined) return { name, isRemoved: true, text: clientSecretText(ofClient.provider) };
    return { name, ...standIn(name, owner, { set, reachable }) };
  });
  const parts = [...Map.groupBy(words, ({ text }) => text)].map(([text, alike]) => {
    const names = alike.map(({ name }) => name).join(', ');
    const [{ isRemoved } = { isRemoved: true }] = alike;
    if (isRemoved) return `removed ${names}${text}`;
    return `${names} ${alike.length === 1 ? 'is a placeholder' : 'are placeholders'}${text}`;
  });
  const left = Object.keys(parent).filter(
    (name) =>
      secretName.test(name) &&
      !taken.has(name) &&
      !keptNames.has(name) &&
      set[name] === undefined &&
      parent[name] !== '',
  );
  if (left.length > 0)
    parts.push(`kept ${left.join(', ')}, which no provider takes and the program can read`);
  return {
    remove: [...taken].filter((name) => set[name] === undefined),
    set,
    note: parts.length === 0 ? null : parts.join('; '),
  };
}

function clientSecretText(provider: string): string {
  return ` (the client secret of ${provider}: no agent needs it, but sidekey start, run, connect, grant refresh and grant revoke do)`;
}

function standIn(
  name: string,
  owner: { readonly provider: string; readonly placeholder: string | null } | undefined,
  { set, reachable }: Pick<WithheldFacts, 'reachable'> & Pick<Withheld, 'set'>,
): { readonly isRemoved: boolean; readonly text: string } {
  if (owner === undefined) return { isRemoved: true, text: ' (for Sidekey only)' };
  const { provider, placeholder } = owner;
  const grant = reachable?.get(provider);
  if (set[name] !== undefined) return { isRemoved: false, text: ` for the grant ${grant}` };
  if (grant !== undefined) return { isRemoved: true, text: ` (the proxy adds the grant ${grant})` };
  if (reachable === null) return { isRemoved: true, text: '' };
  const isKey =
    placeholder === null ? secretName.test(name) && !identityName.test(name) : !placeholder.includes('{');
  // Keys of AWS are two variables.
  const way = hintText(
    remedy('connect', {
      provider,
      ...(isKey && (provider === 'aws' ? { token: true } : { from_env: name })),
    }),
  );
  return { isRemoved: true, text: ` (no ${provider} grant → ${way})` };
}
