import { readRegularFile } from '../config/regular-file.ts';
import { systemCode } from '../system-error.ts';
import { variables } from './variable-table.ts';

/** The variables that name files with roots. */
export const trustVariables: readonly string[] = variables
  .filter(({ value }) => value === 'extra' || value === 'bundle')
  .map(({ name }) => name);

/** What the environment that programs are started from adds to their trust. */
export interface ParentTrust {
  /** PEM of everything that it names. */
  readonly all: string;
  /** PEM of what it puts beside a program's own roots, and not in their place. */
  readonly extra: string;
  /** A sentence for each file that could not be read. */
  readonly notes: readonly string[];
}

/** Far more than all roots of the world: 200 of them are 300 KB. */
const mostBytes = 16 * 1024 * 1024;

/**
 * The certificates in the files that the parent's variables name, such as a company's root in `SSL_CERT_FILE`. Ours
 * take the place of those variables, and what they brought must not get lost. A file that cannot be read would not
 * have helped its program either: it is a note.
 */
export function parentCertificates(parent: NodeJS.ProcessEnv): ParentTrust {
  const notes: string[] = [];
  const read = (kind: 'extra' | 'bundle'): string => {
    const files = new Map(
      variables
        .filter(({ value }) => value === kind)
        .map(({ name }) => [parent[name] ?? '', name] as const)
        .filter(([file]) => file !== ''),
    );
    return [...files].map(([file, variable]) => readPem(file, variable, notes)).join('\n');
  };
  const extra = read('extra');
  return { extra, all: `${read('bundle')}\n${extra}`, notes };
}

function readPem(file: string, variable: string, notes: string[]): string {
  const note = (problem: string): string => {
    notes.push(`${variable} names ${file}, which ${problem}: nothing of it is trusted.`);
    return '';
  };
  try {
    const content = readRegularFile(file, mostBytes);
    if (content === null) return note('is no file');
    if (content.bytes.length > mostBytes) return note('is larger than 16 MiB');
    const text = content.bytes.toString('latin1');
    return text.includes('-----BEGIN CERTIFICATE-----') ? text : note('has no certificate in it');
  } catch (cause) {
    return note(`cannot be read (${systemCode(cause)})`);
  }
}
