import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { readSecretFile } from '../../config/secret-reference.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { hintOf } from '../../lib/hint.ts';
import { findProgram } from '../../lib/programs.ts';
import { askCloud, checkCloud } from './cloud.ts';
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

export interface Sources {
  /** @throws SidekeyError `source_failed`, with the helper or file, the cause, and a remedy */
  ask(question: SourceQuestion): Promise<SourceValue>;
  /** Returns why a source could not be read now; null: it could. Runs no program. */
  check(credential: SourceQuestion['credential']): Promise<SidekeyError | null>;
}

/** Reads secrets of HashiCorp Vault and OpenBao. */
export interface VaultReader {
  /** @throws SidekeyError `source_failed` */
  ask(reference: VaultReference, question: SourceQuestion): Promise<SourceValue>;
  /** Sends nothing. @throws SidekeyError if this machine lacks a prerequisite of reading a secret */
  check(reference: VaultReference): Promise<void>;
}

/** Constructing it has no side effects. */
export function createSources(parts: SourceParts & { readonly vault: VaultReader }): Sources {
  const readText = (path: string) => readSourceFile(path, parts);
  return {
    async ask(question) {
      const { credential } = question;
      const source = parseSource(credential.from, parts.platform);
      switch (source.kind) {
        case 'file':
          return readFile(source.path, question, parts);
        case 'vault':
          return parts.vault.ask(source, question);
        case 'cloud':
          return askCloud(source, { ...parts, readFile: readText, signal: question.signal });
        case 'command':
          return runHelper(source, question, parts);
      }
    },
    async check(credential) {
      try {
        const source = parseSource(credential.from, parts.platform);
        if (source.kind === 'vault') await parts.vault.check(source);
        else if (source.kind === 'file') readSourceFile(source.path, parts);
        else if (source.kind === 'cloud') checkCloud(source, { ...parts, readFile: readText });
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
  // Before the read, so that a later change is noticed.
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
    throw new SidekeyError('source_failed', error.message, { hint: hintOf`${error.hint}${inKubernetes}` });
  }
}

/** Returns identity and times of a file, after links: a replaced link is a change, too. */
function stampOf(path: string, { cwd }: SourceParts): string {
  const stats = statSync(resolve(cwd, path), { bigint: true, throwIfNoEntry: false });
  return stats === undefined
    ? ''
    : `${stats.dev}/${stats.ino}/${stats.size}/${stats.mtimeNs}/${stats.ctimeNs}`;
}

/** Checks names without a path, except on Windows. @throws SidekeyError `source_failed` */
async function assertOnPath(program: string, source: string, { env, platform }: SourceParts): Promise<void> {
  const isName = platform !== 'win32' && !program.includes('/');
  if (!isName || (await findProgram(program, env['PATH'] ?? '')) !== null) return;
  throw new SidekeyError('source_failed', `The program ${program} of the source ${source} is not found.`, {
    hint: `install ${program}, or start Sidekey with a PATH that has it`,
  });
}
