import type { AuditLine } from './event.ts';
import { type IndexedBlock, linesOf, markOf, readIndex } from './block-index.ts';
import { type AuditFilter, auditMatcher, createGate, type Gate, keyConditions } from './filter.ts';
import { endsExchange, type ExchangeJoin, joinExchanges } from './join.ts';
import { parseLine, piecesOf } from './line.ts';
import { type LogSource, snapshotLog } from './log-files.ts';
import { type LogReader, openSource, readForwards, readFully } from './reader.ts';

/** A part of a file that a query reads: a block of its index, or its whole text from `from` on. */
export interface Part {
  readonly source: LogSource;
  readonly from: number;
  /** Bytes; undefined: up to the end of the source. */
  readonly size: number | undefined;
  /** The blocks with the accesses of ends in the part, by their marks (see `markOf`). */
  readonly accesses: ReadonlyMap<number, Part>;
}

/** A line that matches, and its bytes in the file; they are valid until the next step. */
export interface Match {
  readonly line: AuditLine;
  readonly bytes: Buffer;
}

/** Finds the parts of the log with all lines that may match, in their order. What follows a file without an index is read as a whole. */
export function findParts(file: string, filter: AuditFilter): Part[] {
  const { since, until } = filter;
  const conditions = keyConditions(filter);
  const parts: Part[] = [];
  /** Accesses whose end has not come. */
  const open = new Map<number, { readonly part: Part; readonly block: IndexedBlock }>();
  let isIndexed = true;

  function mayMatch(block: IndexedBlock): boolean {
    if ((since !== undefined && block.last < since) || (until !== undefined && block.first >= until))
      return false;
    return conditions.every(
      (condition) =>
        block.mayHave(condition) ||
        (condition.inherited && block.ended.some((mark) => open.get(mark)?.block.mayHave(condition))),
    );
  }

  for (const source of snapshotLog(file)) {
    const index = isIndexed ? readIndex(file, source.number) : undefined;
    let from = 0;
    for (const block of index?.blocks ?? []) {
      const accesses = new Map<number, Part>();
      const part = { source, from, size: block.size, accesses };
      if (mayMatch(block)) {
        for (const mark of block.ended) {
          const access = open.get(mark)?.part;
          if (access !== undefined) accesses.set(mark, access);
        }
        parts.push(part);
      }
      for (const mark of block.ended) open.delete(mark);
      for (const mark of block.opened) open.set(mark, { part, block });
      from += block.size;
    }
    if (index !== undefined && index.size === textSize(file, source)) continue;
    isIndexed = false;
    const accesses = new Map(Array.from(open, ([mark, { part }]) => [mark, part]));
    parts.push({ source, from, size: undefined, accesses });
  }
  return parts;
}

/** Bytes of text in a file, also of a packed one; of a damaged one more than it has. */
function textSize(file: string, source: LogSource): number {
  if (!source.packed) return source.size;
  using reader = openSource(file, source);
  return reader?.size() ?? 0;
}

/** Blocks whose text is kept, for accesses whose end is in another. */
const maxTexts = 4;

/** Reads the lines that match in the parts of a log. */
export class LogScan {
  readonly #file: string;
  readonly #gate: Gate;
  readonly #matches: (line: AuditLine) => boolean;
  /** The exchanges of the parts that are whole files. */
  readonly #join = joinExchanges();
  readonly #texts = new Map<Part, Buffer>();
  #reader: { readonly path: string; readonly open: LogReader } | undefined;

  constructor(file: string, filter: AuditFilter) {
    this.#file = file;
    this.#gate = createGate(filter);
    this.#matches = auditMatcher(filter);
  }

  /**
   * Yields the matching lines of a part. Parts that are whole files must come in their order.
   * @throws PackedDamage
   */
  async *matchesIn(part: Part): AsyncGenerator<Match> {
    if (part.size !== undefined) {
      yield* this.#matchesOf(linesOf(await this.#textOf(part)), part, joinExchanges());
      return;
    }
    using reader = openSource(this.#file, part.source);
    if (reader === undefined) return;
    for await (const lines of readForwards(reader, part.source.size, part.from))
      yield* this.#matchesOf(
        lines.flatMap(({ bytes }) => piecesOf(bytes)),
        part,
        this.#join,
      );
  }

  close(): void {
    this.#reader?.open.close();
  }

  async *#matchesOf(pieces: Iterable<Buffer>, part: Part, join: ExchangeJoin): AsyncGenerator<Match> {
    for (const bytes of pieces) {
      if (bytes.at(-1) !== 0x7d) continue;
      const head = headOf(bytes);
      // Only a line that no writer wrote has another head.
      const parsed = head === undefined ? parseLine(bytes) : undefined;
      const { event, time, exchange = '' } = head ?? parsed ?? noLine;
      const isEnd = exchange !== '' && endsExchange({ event });
      let isOut = head !== undefined && !this.#gate.own(bytes, event, time);
      if (isEnd && !isOut && join.accessOf(exchange) === undefined)
        await this.#findAccess(exchange, part, join);
      if (head !== undefined && !isOut) {
        const access = isEnd ? join.accessOf(exchange) : undefined;
        isOut = (access === undefined || Buffer.isBuffer(access)) && !this.#gate.inherited(bytes, access);
      }
      if (isOut) {
        if (isEnd) join.skip(exchange);
        // The chunk of a whole file would stay in memory with its line.
        else if (event === 'access' && exchange !== '')
          join.defer(exchange, part.size === undefined ? Buffer.from(bytes) : bytes);
        continue;
      }
      const whole = parsed ?? parseLine(bytes);
      if (whole === undefined) continue;
      const line = join(whole);
      if (this.#matches(line)) yield { line, bytes };
    }
  }

  /** Takes the accesses that a part needs from the block of one of them. */
  async #findAccess(exchange: string, { accesses }: Part, join: ExchangeJoin): Promise<void> {
    const from = accesses.get(markOf(exchange));
    if (from === undefined) return;
    for (const bytes of linesOf(await this.#textOf(from))) {
      const { event, exchange: id = '' } = headOf(bytes) ?? parseLine(bytes) ?? noLine;
      // A later access of an exchange counts.
      if (event === 'access' && accesses.get(markOf(id)) === from && join.accessOf(id) === undefined)
        join.defer(id, Buffer.from(bytes));
    }
  }

  /** Reads the text of a block; empty if retention has removed the file. */
  async #textOf(part: Part): Promise<Buffer> {
    const known = this.#texts.get(part);
    if (known !== undefined) return known;
    const { source, from, size = 0 } = part;
    if (this.#reader?.path !== source.path) {
      this.#reader?.open.close();
      const open = openSource(this.#file, source);
      this.#reader = open && { path: source.path, open };
    }
    const text =
      this.#reader === undefined ? Buffer.alloc(0) : await readFully(this.#reader.open, from, size);
    this.#texts.set(part, text);
    if (this.#texts.size > maxTexts) this.#texts.delete(this.#texts.keys().next().value!);
    return text;
  }
}

const noLine = { event: '', time: '', exchange: '' };

/** Returns the fields that each line begins with; undefined if a line begins in another way, or has escapes in them. */
function headOf(bytes: Buffer): { event: string; time: string; exchange: string } | undefined {
  const [, time, event, exchange = ''] =
    /^\{"v":1,"seq":\d+,"time":"([^"\\]*)","node":"[^"\\]*","event":"([^"\\]*)"(?:,"exchange":"([\w-]*)"|(?!,"exchange"))/.exec(
      bytes.toString('latin1', 0, headBytes),
    ) ?? [];
  return time === undefined || event === undefined ? undefined : { event, time, exchange };
}

/** Bytes that the fields of `headOf` have at most: the texts of a writer are bounded. */
const headBytes = 512;
