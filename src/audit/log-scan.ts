import type { AuditLine } from '../domain/event.ts';
import { type IndexedBlock, linesOf, markOf, readIndex } from './block-index.ts';
import { type AuditFilter, auditMatcher, createGate, type Gate, keyConditions } from './filter.ts';
import { endsExchange, type ExchangeJoin, joinExchanges } from './join.ts';
import { formatLine } from './line.ts';
import { parseLine, piecesOf } from './piece.ts';
import { type LogSource, snapshotLog } from './log-files.ts';
import { type LogReader, maxLineBytes, openSource, readFully, readTexts } from './reader.ts';
import { blockSize } from './packed.ts';

/**
 * A part of a file that a query reads: a block of its index, its whole text after `from`, or the lines that
 * begin in a range (to read a file without an index backwards).
 */
export interface Part {
  readonly source: LogSource;
  readonly from: number;
  /** Bytes; undefined: up to the end of the source. */
  readonly size: number | undefined;
  /** The blocks with the accesses of ends in the part, by their marks (see `markOf`). */
  readonly accesses: ReadonlyMap<number, Part>;
  /** True if an access in the index, whose end has not come, may have the inherited fields. */
  readonly isAwaited?: boolean;
  /** Previous range in files without an index; null for the first range; undefined if this is no range. */
  readonly before?: Part | null;
}

/** A line that matches, and its bytes in the file; they are valid until the next step. */
export interface Match {
  readonly line: AuditLine;
  readonly bytes: Buffer;
}

/**
 * Returns the parts with all lines that may match, in order, and all text after a file without an index.
 * @param backwards True if the parts are read from the last one.
 */
export function findParts(file: string, filter: AuditFilter, backwards = false): Part[] {
  const { since, until } = filter;
  const conditions = keyConditions(filter);
  const parts: Part[] = [];
  /** Accesses whose end has not come. */
  const open = new Map<number, { readonly part: Part; readonly block: IndexedBlock }>();
  let isIndexed = true;
  let before: Part | null = null;

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
    // Packing removes an index that is shorter than the text.
    if (index !== undefined && (source.packed || index.size === source.size)) continue;
    isIndexed = false;
    const accesses = new Map(Array.from(open, ([mark, { part }]) => [mark, part]));
    const size = backwards ? textSize(file, source) : undefined;
    const inherited = conditions.filter((condition) => condition.inherited);
    const isAwaited = [...open.values()].some(({ block }) => inherited.every((each) => block.mayHave(each)));
    if (size === undefined) parts.push({ source, from, size, accesses, isAwaited });
    else
      for (; from < size; from += blockSize)
        parts.push((before = { source, from, size: Math.min(blockSize, size - from), accesses, before }));
  }
  return parts;
}

/** Bytes of text in a file, packed or not; undefined if it is damaged: only the text before is readable. */
function textSize(file: string, source: LogSource): number | undefined {
  using reader = openSource(file, source);
  const size = Math.min(source.size, reader?.size() ?? 0);
  return size === Number.MAX_SAFE_INTEGER ? undefined : size;
}

/** Maximum number of blocks whose text is kept, for accesses whose end is in another block. */
const maxTexts = 4;

/** Reads the lines that match in the parts of a log. */
export class LogScan {
  readonly #file: string;
  readonly #gate: Gate;
  readonly #matches: (line: AuditLine) => boolean;
  /** The exchanges of the parts that are whole files. */
  readonly #join = joinExchanges();
  /** Exchanges of these parts with an access that has the inherited fields, and no end so far. */
  readonly #pending = new Set<string>();
  /** Texts of these parts unseen by `#join`: no line in them matches, and no later end needed an access. */
  #unseen: Part[] = [];
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
      const text = await this.#textOf(part);
      if (this.#gate.ownIn(text)) yield* this.#matchesOf(linesOf(text), part, joinExchanges());
      return;
    }
    using reader = openSource(this.#file, part.source);
    if (reader === undefined) return;
    for await (const { bytes, at } of readTexts(reader, part.source.size, part.from))
      yield* this.#matchesInText(bytes, { ...part, from: at, size: bytes.length });
  }

  /** Yields the matching lines of a text of a whole file. */
  async *#matchesInText(text: Buffer, part: Part): AsyncGenerator<Match> {
    const isOwn = this.#gate.ownIn(text);
    const isIdle = this.#pending.size + this.#unseen.length === 0 && part.isAwaited !== true;
    if (isIdle && !this.#gate.inherited(text)) return;
    if (isOwn && (this.#unseen.length === 0 || this.#needsAccess(text))) {
      const unseen = this.#unseen;
      this.#unseen = [];
      for (const each of unseen)
        for await (const _ of this.#matchesOf(linesOf(await this.#textOf(each)), each, this.#join));
      yield* this.#matchesOf(linesOf(text), part, this.#join);
      return;
    }
    this.#unseen.push(part);
    if (isOwn) yield* this.#matchesOf(linesOf(text), part, joinExchanges());
  }

  /** Reports whether a text has the end of an exchange that may match. */
  #needsAccess(text: Buffer): boolean {
    for (const bytes of linesOf(text)) {
      const { event, time } = headOf(bytes) ?? parseLine(bytes) ?? noLine;
      if (endsExchange({ event }) && this.#gate.own(bytes, event, time)) return true;
    }
    return false;
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
      if (join === this.#join && exchange !== '') {
        if (event === 'access' && this.#gate.inherited(bytes)) this.#pending.add(exchange);
        else if (isEnd || event === 'access') this.#pending.delete(exchange);
      }
      if (isOut) {
        if (isEnd) join.skip(exchange);
        // The text of a whole file would stay in memory with its line.
        else if (event === 'access' && exchange !== '')
          join.defer(exchange, join === this.#join ? Buffer.from(bytes) : bytes);
        continue;
      }
      const whole = parsed ?? parseLine(bytes);
      if (whole === undefined) continue;
      const line = join(whole);
      if (this.#matches(line)) yield { line, bytes };
    }
  }

  /** Takes the accesses that a part needs from the block of one of them. */
  async #findAccess(exchange: string, { accesses, before }: Part, join: ExchangeJoin): Promise<void> {
    const access = Buffer.from(formatLine({ event: 'access', exchange } as AuditLine).slice(1, -1));
    for (let part = before ?? null; part !== null; part = part.before ?? null) {
      const text = await this.#textOf(part);
      const at = text.lastIndexOf(access);
      if (at === -1) continue;
      const line = text.subarray(text.lastIndexOf(0x0a, at) + 1, text.indexOf(0x0a, at));
      join.defer(exchange, Buffer.from(piecesOf(line).findLast((piece) => piece.includes(access))!));
      return;
    }
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
    const cached = this.#texts.get(part);
    if (cached !== undefined) return cached;
    const { source, from, size = 0 } = part;
    if (this.#reader?.path !== source.path) {
      this.#reader?.open.close();
      const open = openSource(this.#file, source);
      this.#reader = open && { path: source.path, open };
    }
    const reader = this.#reader?.open;
    let text: Buffer = Buffer.alloc(0);
    if (reader !== undefined)
      text = await (part.before === undefined
        ? readFully(reader, from, size)
        : readRange(reader, from, Math.min(source.size, from + size), source.size));
    this.#texts.set(part, text);
    if (this.#texts.size > maxTexts) this.#texts.delete(this.#texts.keys().next().value!);
    return text;
  }
}

/** Reads the lines that begin in a range of a file. */
async function readRange(reader: LogReader, from: number, to: number, end: number): Promise<Buffer> {
  const start = Math.max(0, from - 1);
  const text = await readFully(reader, start, Math.min(end, to + maxLineBytes) - start);
  const first = from === 0 ? 0 : text.indexOf(0x0a) + 1;
  if (first > to - start || (first === 0 && from > 0)) return text.subarray(0, 0);
  const last = text.indexOf(0x0a, Math.max(first, to - start - 1));
  return text.subarray(first, last === -1 ? text.length : last + 1);
}

const noLine = { event: '', time: '', exchange: '' };

/** Returns the first fields of a line; undefined if it begins otherwise, or has escapes in these fields. */
function headOf(bytes: Buffer): { event: string; time: string; exchange: string } | undefined {
  const [, time, event, exchange = ''] =
    /^\{"v":1,"seq":\d+,"time":"([^"\\]*)","node":"[^"\\]*","event":"([^"\\]*)"(?:,"exchange":"([\w-]*)"|(?!,"exchange"))/.exec(
      bytes.toString('latin1', 0, headBytes),
    ) ?? [];
  return time === undefined || event === undefined ? undefined : { event, time, exchange };
}

/** Maximum bytes of the fields of `headOf`: a writer bounds their texts. */
const headBytes = 512;
