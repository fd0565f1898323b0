import { stat } from 'node:fs/promises';
import { authorityFiles } from '../../ca/authority-files.ts';
import type { Config } from '../../config/config.ts';
import { displayName } from '../../config/problem.ts';
import { isPrivate, isWritableByAll } from '../../private-file.ts';
import { shellWord } from '../../shell-word.ts';
import { isSystemError, systemCode } from '../../system-error.ts';
import { finding, type Finding, type Need } from '../status/finding.ts';

/** A file that somebody else must not read, or must not write. */
interface Guarded {
  readonly path: string;
  readonly holds: string;
  readonly isSecret: boolean;
}

/** Whether what holds secrets, and what decides over them, is its owner's alone. */
export async function lookAtPermissions(config: Config): Promise<Finding> {
  const looked = await Promise.all(guarded(config).map(lookAt));
  const there = looked.filter(({ isThere }) => isThere).length;
  const text = `${there} ${there === 1 ? 'file' : 'files'} looked at`;
  return finding(
    'permissions',
    text,
    { files: there },
    looked.flatMap(({ need }) => need ?? []),
  );
}

function guarded({ file, store, key, ca, audit }: Config): readonly Guarded[] {
  return [
    { path: file, holds: 'the config', isSecret: false },
    { path: store.path, holds: 'the store', isSecret: true },
    { path: `${store.path}-wal`, holds: 'the store', isSecret: true },
    ...(key.source === 'file' ? [{ path: key.path, holds: 'the master key', isSecret: true }] : []),
    { path: authorityFiles(ca.directory).key, holds: 'the key of the CA', isSecret: true },
    { path: ca.directory, holds: 'the CA', isSecret: false },
    { path: audit.file, holds: 'the audit log', isSecret: true },
  ];
}

async function lookAt({
  path,
  holds,
  isSecret,
}: Guarded): Promise<{ readonly isThere: boolean; readonly need: Need | null }> {
  const name = displayName(path, process.cwd());
  try {
    const { mode, uid, isDirectory } = await stat(path).then((found) => ({
      mode: found.mode,
      uid: found.uid,
      isDirectory: found.isDirectory(),
    }));
    const self = process.getuid?.();
    if (self !== undefined && self !== 0 && uid !== self)
      return {
        isThere: true,
        need: {
          sentence: `${name}, which holds ${holds}, belongs to another user.`,
          hint: `chown "$USER" ${shellWord(name)}`,
        },
      };
    const isOpen = isSecret ? !isPrivate(mode) : isWritableByAll(mode);
    if (!isOpen) return { isThere: true, need: null };
    const least = isSecret ? (isDirectory ? '700' : '600') : 'o-w';
    return {
      isThere: true,
      need: {
        sentence: `Others may ${isSecret ? 'read' : 'write'} ${name}, which holds ${holds}.`,
        hint: `chmod ${least} ${shellWord(name)}`,
      },
    };
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return { isThere: false, need: null };
    return {
      isThere: true,
      need: {
        sentence: `${name}, which holds ${holds}, cannot be looked at (${systemCode(error)}).`,
        hint: 'let this user into its folder',
      },
    };
  }
}
