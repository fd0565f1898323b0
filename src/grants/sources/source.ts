import { join, resolve } from 'node:path';
import { splitCommandLine } from '../../config/locate.ts';
import { presetProgram, presetTexts, type SourceProgram } from '../../config/source-presets.ts';
import { SidekeyError } from '../../lib/errors.ts';
import type { HeldCredential, SourceCredential } from '../../domain/credential.ts';
import { type CloudSource, type cloudServices, cloudTexts, parseCloudSource } from './cloud-source.ts';
import { parseVaultReference, type VaultReference } from './vault-reference.ts';

export type Source =
  | { readonly kind: 'file'; readonly path: string }
  | ({ readonly kind: 'vault' } & VaultReference)
  | ({ readonly kind: 'command' } & SourceProgram)
  | CloudSource;

/** A read of the credential of a grant. */
export interface SourceQuestion {
  /** ID and revision of the grant; for a grant that is not stored yet, an empty text and 0. */
  readonly grant: string;
  readonly revision: number;
  readonly credential: SourceCredential;
  /** Domain patterns of the grant. */
  readonly audience: readonly string[];
  /** True: an upstream refused the last value, so the source must return another. */
  readonly isRefused: boolean;
  /** Aborted once no caller waits. */
  readonly signal: AbortSignal;
}

export interface SourceValue {
  readonly credential: HeldCredential;
  /** Expiry in milliseconds since the epoch; null: not stated. */
  readonly expiresAt: number | null;
  /** Returns false once the file of the value has changed. For the request path. */
  readonly isCurrent?: () => boolean;
}

export interface SourceParts {
  readonly env: NodeJS.ProcessEnv;
  /** Base of relative paths, and working directory of helpers: the folder of the config file. */
  readonly cwd: string;
  readonly platform: NodeJS.Platform;
  readonly now: () => number;
  /** Guarded `fetch` in force. */
  readonly fetch: () => typeof fetch;
  readonly services: typeof cloudServices;
}

/**
 * Parses a source: `file:PATH`, `vault:PATH#MEMBER`, `command:WORDS…`, a cloud, or the text of a preset.
 *
 * @throws SidekeyError `input_invalid`
 */
export function parseSource(from: string, platform: NodeJS.Platform): Source {
  const [, kind, rest = ''] = /^(file|vault|command):(.*)$/.exec(from) ?? [];
  if (/\p{Cc}/u.test(from)) throw invalid('The source has a control character.');
  if (kind === 'file' && rest !== '') return { kind, path: rest };
  if (kind === 'vault') {
    const reference = parseVaultReference(rest);
    if (reference === null) throw invalid('The source has no path of Vault.');
    return { kind, ...reference };
  }
  if (kind === 'command') {
    const argv = splitCommandLine(rest);
    if ('problem' in argv) throw invalid(`The command of the source ${argv.problem}.`);
    return { kind, argv, input: null, form: null, environment: [], login: null };
  }
  const cloud = parseCloudSource(from);
  if (typeof cloud === 'string') throw invalid(cloud);
  if (cloud !== null) return cloud;
  const program = presetProgram(from, platform);
  if (program === null) throw invalid('The source has a form that is not known.');
  return { kind: 'command', ...program };
}

function invalid(sentence: string): SidekeyError {
  return new SidekeyError('input_invalid', sentence, {
    hint: `write file:PATH, vault:PATH#MEMBER, command:…, or one of ${[...presetTexts(), ...cloudTexts]
      .join(', ')
      .replace(/\{(\w+)\}/g, (_, name: string) => name.toUpperCase())}`,
  });
}

/** Returns the source with an absolute path, so that it is the same file for every process. */
export function absoluteSource(from: string, cwd: string, home: string): string {
  const [, before, inside] = /^(.*[?&]token=)(file:[^&]+)/.exec(from) ?? [];
  if (before !== undefined && inside !== undefined && parseCloudSource(from) !== null)
    return before + absoluteSource(inside, cwd, home) + from.slice(before.length + inside.length);
  const [, kind, path = '', rest = ''] = /^(file:|sops:)([^#]*)(.*)$/.exec(from) ?? [];
  if (kind === undefined || path === '') return from;
  const whole = kind === 'file:' ? `${path}${rest}` : path;
  const at = whole.startsWith('~/') ? join(home, whole.slice(2)) : resolve(cwd, whole);
  return kind === 'file:' ? `file:${at}` : `${kind}${at}${rest}`;
}

/** Returns a source for people. Commands are shown without arguments, which may be secret. */
export function describeSource({ from }: Pick<SourceCredential, 'from'>): string {
  const [, command] = /^command:\s*(.*)$/s.exec(from) ?? [];
  if (command === undefined) return from;
  const argv = splitCommandLine(command);
  return `command:${'problem' in argv ? '' : argv[0]}`;
}
