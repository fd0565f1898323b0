import { type ChainHead, formatEnd, genesis, prevOf, unknownEnd } from './line.ts';
import type { Piece } from './piece.ts';

/** The place of a piece. `file` is a path, `line` counts from 1. */
interface Place {
  readonly file: string;
  readonly line: number;
}

/** Bytes of a piece: number of its file (see `LogSource`), first byte (inclusive), end (exclusive). */
interface Extent {
  readonly number: number;
  readonly from: number;
  readonly to: number;
}

/**
 * - `edited`: a line was changed after it was written.
 * - `missing`: lines were removed from the beginning or the middle of a chain.
 * - `cut`: lines were removed from the end of a chain.
 * - `reordered`: a line was moved.
 * - `repeated`: a line occurs twice, or an older state of the log was continued.
 * - `foreign`: no writer of this log wrote the line.
 */
type ProblemKind = 'edited' | 'missing' | 'cut' | 'reordered' | 'repeated' | 'foreign';

/** A difference between the log and the written lines. */
export interface Problem extends Place {
  readonly kind: ProblemKind;
  /** One sentence for people. */
  readonly sentence: string;
}

/** Missing lines of a chain. */
export interface Gap {
  readonly node: string;
  readonly from: number;
  readonly to: number;
}

/** The lines of one chain in the log: first and last `seq`; 0 if it has none. */
interface ChainExtent {
  readonly node: string;
  readonly first: number;
  readonly last: number;
}

/** The result of a walk. */
export interface ChainFindings {
  /** Authentic lines. */
  readonly lines: number;
  /** Number of writes that a crash or full disk interrupted. They record nothing, and leave no gap. */
  readonly torn: number;
  readonly chains: readonly ChainExtent[];
  /** The head of each chain, even of a chain whose lines retention removed. */
  readonly heads: ReadonlyMap<string, ChainHead>;
  /** Missing lines whose loss has not been accepted. */
  readonly gaps: readonly Gap[];
  /** Number of missing lines whose loss was accepted. */
  readonly accepted: number;
  /** At most `problemLimit` problems, in the order of the log. */
  readonly problems: readonly Problem[];
  /** Number of further problems. */
  readonly omitted: number;
}

/** A line as an anchor names it. */
export interface AnchoredLine {
  readonly hash: string;
  /** Time of the anchor: ISO 8601. */
  readonly time: string;
  /** Path of the copy of the log whose head this is; absent for an anchor. */
  readonly copy?: string;
}

/** Facts about the chains besides the log and its head records. */
interface WalkOptions {
  /** The last line of each node that retention removed. The chain continues from it. */
  readonly starts?: ReadonlyMap<string, ChainHead> | undefined;
  /** Lines of each node by their number, as anchors name them. */
  readonly anchored?: ReadonlyMap<string, ReadonlyMap<number, AnchoredLine>> | undefined;
  /** The head of each node in the store. */
  readonly stored?: ReadonlyMap<string, ChainHead> | undefined;
  /** True if the log is a copy, which may end before the heads in the store. */
  readonly isCopy?: boolean | undefined;
  /** True if only the beginning of a log is walked; then the ends of the chains are not checked. */
  readonly openEnded?: boolean | undefined;
}

const forkReasons = 'An older copy of the log was continued, or two machines write a chain of this name.';

/** Problems that are reported one by one. */
export const problemLimit = 10_000;

/** A walk over the pieces of a log. */
export interface ChainWalk {
  /** Takes the next piece, in the order of the log. Without `extent`, its position is not checked. */
  see(piece: Piece, place: Place, extent?: Extent): void;
  /** Takes a gap whose loss was accepted. */
  accept(gap: Gap): unknown;
  /** Returns the result, after the last piece. */
  finish(): ChainFindings;
}

interface Chain {
  readonly node: string;
  first: number;
  last: number;
  hash: string;
  /** See `Piece.age`; undefined before the first line. */
  age: number | undefined;
  at: Place;
  /** Number of the file with its last line; 0: unknown. */
  file: number;
  /** The byte after its last line in that file; 0: unknown. */
  end: number;
  /** True if the last line did not follow its predecessor directly, and no later line has named its end. */
  moved: boolean;
  /** True if the writer names the ends of lines; old writers wrote no `prev_end`. */
  tellsEnds: boolean;
  readonly holes: { from: number; to: number; readonly before: Place }[];
}

type BrokenPiece = Exclude<Piece, { kind: 'line' }>;
type LinePiece = Extract<Piece, { kind: 'line' }>;

/**
 * Checks the chains of a log, one for each writer, each line with the hash of the line before. Pure.
 *
 * Given all pieces in order, it finds whether each chain is complete, starts at its first line, and reaches
 * the end in its head record and the store. The ends of lines give the order of lines of different writers: a
 * line begins right after its predecessor in the chain, or the next batch names the end of that predecessor.
 *
 * @param heads The head records. A node without one has lost it.
 * @param headPlace The place of problems that belong to no line.
 */
export function walkChains(
  heads: ReadonlyMap<string, ChainHead>,
  headPlace: Place,
  {
    starts = new Map(),
    anchored = new Map(),
    stored = new Map(),
    isCopy = false,
    openEnded = false,
  }: WalkOptions = {},
): ChainWalk {
  const chains = new Map<string, Chain>();
  const broken: { readonly piece: BrokenPiece; readonly place: Place; readonly file: number }[] = [];
  const problems: Problem[] = [];
  const accepted: Gap[] = [];
  /** Lines that are not where they were written. */
  const misplaced: { readonly place: Place; readonly file: number; readonly line: string }[] = [];
  /** Ranges of file numbers in which lines were changed, removed or added; this moved other lines. */
  const disturbed = new Map<string, readonly [number, number]>();
  let lines = 0;
  let omitted = 0;

  function report({ file, line }: Place, kind: ProblemKind, sentence: string): void {
    if (problems.length < problemLimit) problems.push({ file, line, kind, sentence });
    else omitted += 1;
  }

  function newChain(node: string, at: Place): Chain {
    const { seq, hash, end } = starts.get(node) ?? { seq: 0, hash: genesis };
    const [file = 0, byte = 0] = end?.split(':').map(Number) ?? [];
    const position = { at, file, end: byte, moved: false, tellsEnds: end !== undefined };
    return { node, first: 0, last: seq, hash, age: undefined, ...position, holes: [] };
  }

  function disturb(from: number, to: number): void {
    disturbed.set(`${from} ${to}`, [from, to]);
  }

  function misplace({ node, last, at, file }: Chain): void {
    const line = `Line ${last} of ${node}`;
    if (misplaced.length < problemLimit) misplaced.push({ place: at, file, line });
    else omitted += 1;
  }

  /** Checks the position of the next line of a chain, and the end that it names for the line before. */
  function locate(chain: Chain, prevEnd: string | undefined, extent: Extent): void {
    const follows = chain.file === extent.number && chain.end === extent.from - 1;
    if (prevEnd !== undefined) {
      if (prevEnd !== unknownEnd && chain.file !== 0 && prevEnd !== formatEnd(chain.file, chain.end))
        misplace(chain);
      chain.tellsEnds = true;
      chain.moved = !follows;
    } else if (chain.tellsEnds && !follows && chain.file !== 0) {
      if (chain.moved) misplace(chain);
      chain.moved = true;
    }
  }

  function see(piece: Piece, place: Place, extent?: Extent): void {
    if (piece.kind !== 'line') {
      if (broken.length < problemLimit) broken.push({ piece, place, file: extent?.number ?? 0 });
      else omitted += 1;
      return;
    }
    lines += 1;
    const { node, seq } = piece;
    const line = `Line ${seq} of ${node}`;
    let chain = chains.get(node);
    if (chain === undefined) chains.set(node, (chain = { ...newChain(node, place), first: seq }));
    const anchor = anchored.get(node)?.get(seq);
    if (anchor !== undefined && anchor.hash !== piece.hash) {
      const why =
        anchor.copy === undefined
          ? `does not match the anchor of ${anchor.time}: the log was replaced by an older copy and continued.`
          : `is another one in ${anchor.copy}: the chain forks. ${forkReasons}`;
      report(place, 'repeated', `${line} ${why}`);
    }
    const head = heads.get(node);
    if (head?.seq === seq && head.hash !== piece.hash)
      report(place, 'repeated', `${line} does not match its head record.`);
    if (seq <= chain.last) {
      if (extent !== undefined) disturb(extent.number, Math.max(chain.file, extent.number));
      if (fill(chain, seq, seq)) report(place, 'reordered', `${line} is after line ${chain.last}.`);
      else report(place, 'repeated', `${line} is in the log a second time.`);
      return;
    }
    const storedHead = stored.get(node);
    if (storedHead?.seq === seq && storedHead.hash !== piece.hash)
      report(
        place,
        'repeated',
        `${line} is not the one that the store names: the chain forks. ${forkReasons}`,
      );
    if (extent !== undefined && seq === chain.last + 1 && piece.prev === prevOf(chain.hash)) {
      locate(chain, piece.prevEnd, extent);
    } else {
      chain.moved = false;
      if (extent !== undefined) disturb(Math.min(chain.file, extent.number), extent.number);
    }
    if (seq > chain.last + 1) chain.holes.push({ from: chain.last + 1, to: seq - 1, before: place });
    else if (piece.prev !== prevOf(chain.hash))
      report(place, 'missing', `${line} was written after another line ${seq - 1} than this log has.`);
    checkKey(chain, piece, place);
    chain.last = seq;
    chain.hash = piece.hash;
    chain.at = place;
    if (extent === undefined) return;
    chain.file = extent.number;
    chain.end = extent.to;
    if (endsElsewhere(head, chain) || endsElsewhere(storedHead, chain)) misplace(chain);
  }

  /** Checks that the key of a chain changes only to a later key, and by a link to the line before. */
  function checkKey(chain: Chain, { node, seq, age = 0, link }: LinePiece, place: Place): void {
    const line = `Line ${seq} of ${node}`;
    if (chain.age !== undefined && age > chain.age)
      report(place, 'foreign', `${line} was written with a retired master key, after lines of a later one.`);
    else if (link !== undefined ? seq === chain.last + 1 && link !== chain.hash : age !== (chain.age ?? age))
      report(
        place,
        'edited',
        `${line} begins with another master key, and does not link to the line before it: lines before it were changed.`,
      );
    chain.age = age;
  }

  function finish(): ChainFindings {
    const all = new Map(chains);
    for (const node of [...heads.keys(), ...starts.keys(), ...anchored.keys(), ...stored.keys()])
      if (!all.has(node)) all.set(node, newChain(node, headPlace));
    reportOldHeads();
    for (const [node, chain] of all) {
      const lastSeq = Math.max(heads.get(node)?.seq ?? 0, isCopy ? 0 : (stored.get(node)?.seq ?? 0));
      if (chain.last >= lastSeq) continue;
      chain.holes.push({ from: chain.last + 1, to: lastSeq, before: END });
      disturb(chain.file, Infinity);
    }
    const torn = countTorn(all);
    const { acceptedLines, acceptedEnds } = acceptGaps(all);
    const gaps: Gap[] = [];
    for (const chain of all.values()) {
      gaps.push(...reportHoles(chain));
      reportAnchors(chain);
      if (!openEnded && !heads.has(chain.node) && !acceptedEnds.has(chain.node)) {
        const why = 'is gone, so a cut of its last lines would not be seen.';
        report(chain.at, 'cut', `The head record of ${chain.node} ${why}`);
      }
    }
    reportMisplaced();
    const ends = Array.from(all.values(), ({ node, last, hash, file, end }): [string, ChainHead] => [
      node,
      { seq: last, hash, end: file === 0 ? undefined : formatEnd(file, end) },
    ]);
    return {
      gaps,
      accepted: acceptedLines,
      lines,
      torn,
      chains: Array.from(all.values(), ({ node, first, last }) => ({ node, first, last })),
      heads: new Map(ends),
      problems,
      omitted,
    };
  }

  function reportOldHeads(): void {
    for (const [node, { seq, hash }] of heads) {
      const start = starts.get(node);
      if (start === undefined || seq > start.seq || (seq === start.seq && hash === start.hash)) continue;
      const why = 'is older than what retention removed of it, or one of the two is of another log.';
      report(headPlace, 'repeated', `The head record of ${node} ${why}`);
    }
  }

  /** Reports changed and foreign pieces, and counts the torn ones. */
  function countTorn(all: ReadonlyMap<string, Chain>): number {
    let torn = 0;
    for (const { piece, place, file } of broken) {
      const { claim } = piece;
      const chain = claim === undefined ? undefined : all.get(claim.node);
      if (claim !== undefined && chain !== undefined && fill(chain, claim.seq, claim.seq)) {
        report(place, 'edited', `Line ${claim.seq} of ${claim.node} was changed after it was written.`);
      } else if (piece.kind === 'torn') {
        torn += 1;
        continue;
      } else {
        const why = 'was not written by a writer of this log, or was changed beyond recognition.';
        report(place, 'foreign', `This text ${why}`);
      }
      disturb(file, file);
    }
    return torn;
  }

  /** Removes the accepted gaps from the holes of the chains. */
  function acceptGaps(all: ReadonlyMap<string, Chain>) {
    let acceptedLines = 0;
    const acceptedEnds = new Set<string>();
    for (const { node, from, to } of accepted) {
      const chain = all.get(node);
      for (const hole of chain?.holes.slice() ?? []) {
        const [first, last] = [Math.max(from, hole.from), Math.min(to, hole.to)];
        if (chain === undefined || first > last || !fill(chain, first, last)) continue;
        if (hole.before === END) acceptedEnds.add(node);
        acceptedLines += last - first + 1;
      }
    }
    return { acceptedLines, acceptedEnds };
  }

  function reportHoles({ node, last, at, holes }: Chain): Gap[] {
    return holes.map(({ from, to, before }) => {
      const lines =
        from === to
          ? `Line ${from} (writer ${node}) is missing`
          : `Lines ${from} to ${to} (writer ${node}) are missing`;
      if (before !== END) report(before, 'missing', `${lines} before this line.`);
      else if (to <= (heads.get(node)?.seq ?? 0))
        report(at, 'cut', `${lines}: the log was cut after line ${last} of it.`);
      else {
        const why = 'lines were removed, or an older copy of the log was restored.';
        const ends = `and the log ends at line ${last} of it`;
        report(at, 'cut', `The store names line ${to} of ${node}, ${ends}: ${why}`);
      }
      return { node, from, to };
    });
  }

  /** Reports anchors of lines beyond the end of the chain, and of the last removed line. */
  function reportAnchors({ node, last, at, holes }: Chain): void {
    const end = holes.reduce((max, hole) => (hole.before === END ? Math.max(max, hole.to) : max), last);
    const start = starts.get(node);
    for (const [seq, { hash, time, copy }] of anchored.get(node) ?? []) {
      // A copy may be older than another.
      if (copy !== undefined) continue;
      if (seq > end) {
        const where = last === 0 ? 'has none of it' : `ends at line ${last} of it`;
        report(at, 'cut', `The anchor of ${time} names line ${seq} of ${node}, and the log ${where}.`);
      } else if (seq === start?.seq && start.hash !== hash) {
        const why = `does not match the anchor of ${time}.`;
        report(at, 'repeated', `The last removed line of ${node} ${why}`);
      }
    }
  }

  function reportMisplaced(): void {
    for (const { place, file, line } of misplaced) {
      if ([...disturbed.values()].some(([from, to]) => from <= file && file <= to)) continue;
      // Reports only the first line of a file: the others moved because of it.
      disturb(file, file);
      const why = 'lines of several writers were moved, or bytes were added or removed before it.';
      report(place, 'reordered', `${line} is not where it was written: ${why}`);
    }
  }

  return { see, accept: (gap) => accepted.push(gap), finish };
}

/** Marks a hole at the end of a chain. */
const END: Place = { file: '', line: 0 };

/** Reports whether `head` is the last line of the chain and ended elsewhere. */
function endsElsewhere(head: ChainHead | undefined, { last, hash, file, end }: Chain): boolean {
  if (head?.seq !== last || head.hash !== hash || head.end === undefined) return false;
  return head.end !== formatEnd(file, end);
}

/** Removes the lines `first` to `last` (inclusive) from their hole; returns false if there is none. */
function fill(chain: Chain, first: number, last: number): boolean {
  const index = chain.holes.findIndex((hole) => hole.from <= first && last <= hole.to);
  const hole = chain.holes[index];
  if (hole === undefined) return false;
  const rest = [
    { ...hole, to: first - 1 },
    { ...hole, from: last + 1 },
  ].filter(({ from, to }) => from <= to);
  chain.holes.splice(index, 1, ...rest);
  return true;
}
