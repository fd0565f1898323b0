import { posix } from 'node:path';

/** One import statement, or one call of `import()`. */
export interface Import {
  readonly from: string;
  /** A path from the root of the files, or the name of a package or of a module of Node. */
  readonly to: string;
  /** `import type`: absent when the program runs. */
  readonly typeOnly: boolean;
  /** Names that are imported as values; `*` for all. */
  readonly names: readonly string[];
  /** All names, types included; `*` for all. */
  readonly all: readonly string[];
}

const statement = /^[ \t]*(?:import|export)\s+(type\s+)?(?:([^'";]*?)\s*from\s+)?'([^']+)'/gm;
const call = /(?:(?:const|let)\s+\{([^}]*)\}\s*=\s*await\s+)?\bimport\(\s*'([^']+)'/g;

/** Reads the imports of a file, in their order. */
export function importsOf(from: string, text: string): Import[] {
  const resolve = (to: string) => (to.startsWith('.') ? posix.join(posix.dirname(from), to) : to);
  const found: Import[] = [];
  for (const [, type, clause = '', to = ''] of text.matchAll(statement)) {
    const [, listed = '*'] = /\{([^}]*)\}/.exec(clause) ?? [];
    const named = listed
      .split(',')
      .map((name) => name.trim())
      .filter((name) => name !== '');
    const values = named.filter((name) => !name.startsWith('type '));
    found.push({
      from,
      to: resolve(to),
      typeOnly: type !== undefined,
      names: type === undefined ? values.map(original) : [],
      all: named.map(original),
    });
  }
  for (const [, listed = '*', to = ''] of text.matchAll(call)) {
    const names = listed.split(',').map((name) => name.trim().split(/\s*:\s*/)[0]!);
    found.push({ from, to: resolve(to), typeOnly: false, names, all: names });
  }
  return found;
}

/** Returns the name in the module that exports it. */
function original(name: string): string {
  return name.replace(/^type\s+/, '').split(/\s+as\s+/)[0]!;
}
