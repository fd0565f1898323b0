import type { CommandRow } from '../command.ts';
import { importCommandRow } from './import.ts';
import { refreshCommandRow } from './refresh.ts';
import { endCommandRows } from './revoke.ts';
import { scopesCommandRow } from './scopes.ts';
import { setCommandRow } from './set.ts';
import { listCommandRow } from './show.ts';
import { sourceCommandRow } from './source.ts';

/** Commands for the stored credentials. */

export const grantCommands: readonly CommandRow[] = [
  importCommandRow,
  listCommandRow,
  refreshCommandRow,
  setCommandRow,
  scopesCommandRow,
  sourceCommandRow,
  ...endCommandRows,
];
