import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { readSecretFile } from '../../config/secret-reference.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { findProgram } from '../../lib/programs.ts';
import { runHelper } from './command.ts';
import {
  describeSource,
  parseSource,
  type SourceParts,
  type SourceQuestion,
  type SourceValue,
} from './source.ts';
import { readValue } from './value.ts';
import type { VaultReference } from './vault-reference.ts';

/** The sources of this process. */
export interface Sources {
  /** @throws SidekeyError `source_failed`: which helper or file, why, and the way out */
  ask(question: SourceQuestion): Promise<SourceValue>;
  /** Returns why a source could not be asked now; null: it could. Runs no program. */
  check(credential: SourceQuestion['credential']): Promise<SidekeyError | null>;
}

/** Reads secrets of HashiCorp Vault and OpenBao. */
export interface VaultReader {
  /** @throws SidekeyError `source_failed` */
  ask(reference: VaultReference, question: SourceQuestion): Promise<SourceValue>;
  /** Asks nothing. @throws SidekeyError why a secret cannot be asked for, as far as this machine tells */
  check(reference: VaultReference): Promise<void>;
}

/** Asks nothing by itself. */
export function createSources(parts: SourceParts & { readonly vault: VaultReader }): Sources {
  return {
    async ask(question) {
      const { credential } = question;
      const source = parseSource(credential.from, parts.platform);
      switch (source.kind) {
        case 'file':
          return readFile(source.path, question, parts);
        case 'vault':
          return parts.vault.ask(source, question);
        case 'command':
          return runHelper(source, question, parts);
      }
    },
    async check(credential) {
      try {
        const source = parseSource(credential.from, parts.platform);
        if (source.kind === 'vault') await parts.vault.check(source);
        else if (source.kind === 'file') readSourceFile(source.path, parts);
        else await assertOnPath(source.argv[0] ?? '', describeSource(credential), parts);
        return null;
      } catch (error) {
        if (error instanceof SidekeyError) return error;
        throw error;
      }
    },
  };
}

function readFile(path: string, { credential }: SourceQuestion, parts: SourceParts): SourceValue {
  // Before the file is read: a change after that is seen.
  const stamp = stampOf(path, parts);
  const text = readSourceFile(path, parts);
  try {
    const value = readValue(text, credential.form, parts.now);
    return { ...value, isCurrent: () => stampOf(path, parts) === stamp };
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    throw new SidekeyError('source_failed', `file:${path} holds no credential: ${error.message}`, {
      hint: 'write a token alone into the file, or JSON with a token and its end',
    });
  }
}

/** @throws SidekeyError `source_failed` */
function readSourceFile(path: string, { cwd }: SourceParts): string {
  try {
    return readSecretFile(resolve(cwd, path), (what) => `file:${path} ${what}.`).toString('utf8');
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    const inKubernetes =
      error.code === 'permissions_unsafe' ? '; in Kubernetes: defaultMode: 0440 and fsGroup' : '';
    throw new SidekeyError('source_failed', error.message, { hint: `${error.hint}${inKubernetes}` });
  }
}

/** Identity and times of the file that a path leads to, also through links: a link that is replaced leads to another. */
function stampOf(path: string, { cwd }: SourceParts): string {
  const found = statSync(resolve(cwd, path), { bigint: true, throwIfNoEntry: false });
  return found === undefined
    ? ''
    : `${found.dev}/${found.ino}/${found.size}/${found.mtimeNs}/${found.ctimeNs}`;
}

/** Looks for names alone. Windows has its own rules for them. @throws SidekeyError `source_failed` */
async function assertOnPath(program: string, source: string, { env, platform }: SourceParts): Promise<void> {
  const isName = platform !== 'win32' && !program.includes('/');
  if (!isName || (await findProgram(program, env['PATH'] ?? '')) !== null) return;
  throw new SidekeyError('source_failed', `The program ${program} of the source ${source} is not found.`, {
    hint: `install ${program}, or start Sidekey with a PATH that has it`,
  });
}
