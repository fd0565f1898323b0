import { spells } from './bytes.ts';
import { width, type FieldTable } from './field-table.ts';
import { isOneName, numberOfText, numbersOfFamily } from './known-names.ts';

/** A set of field names, made once and asked without strings. */
export class NameSet {
  /** Bits of the numbers of known names; never the first one, which stands for all other names. */
  readonly bits: number;
  readonly #others: readonly string[];

  /** @param names in lower case; `proxy-*` and `sidekey-*` stand for all that begin so */
  constructor(names: readonly string[]) {
    let bits = 0;
    const others: string[] = [];
    for (const name of names) {
      const number = numberOfText(name);
      if (name === 'proxy-*' || name === 'sidekey-*') {
        for (const member of numbersOfFamily(name === 'proxy-*' ? 'proxy-' : 'sidekey-')) bits |= 1 << member;
      } else if (isOneName(number)) bits |= 1 << number;
      else others.push(name);
    }
    this.bits = bits;
    this.#others = others;
  }

  /** Whether the name of a field is in it. */
  has(table: FieldTable, index: number): boolean {
    return ((this.bits >> table.numberAt(index)) & 1) === 1 || this.hasOther(table, index);
  }

  /** As `has`, where `bits` were looked at before. */
  hasOther(table: FieldTable, index: number): boolean {
    if (this.#others.length === 0) return false;
    const at = index * width;
    const { offsets, bytes, base } = table;
    return this.#others.some((name) => spells(bytes, base + offsets[at + 1]!, base + offsets[at + 2]!, name));
  }
}
