import { notNominable } from '../fields.ts';
import type { FieldTable } from './field-table.ts';
import { known } from './known-names.ts';

/** The names, in lower case, of fields that `Connection` declares to be of this connection alone; null: none. */
export function nominatedBy(head: FieldTable): ReadonlySet<string> | null {
  let nominated: Set<string> | null = null;
  for (let index = 0; index < head.count; index += 1) {
    if (head.numberAt(index) !== known.connection) continue;
    if (head.isPlain(index, 'keep-alive') || head.isPlain(index, 'close')) continue;
    for (const option of head.valueAt(index).split(',')) {
      const name = option.trim().toLowerCase();
      if (name !== '' && !notNominable.has(name)) (nominated ??= new Set()).add(name);
    }
  }
  return nominated;
}
