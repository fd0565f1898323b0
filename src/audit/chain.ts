/**
 * The chains of the log: one per writer, each line carrying the hash of the one before. Pure.
 *
 * Given every piece of the log in order, says whether each chain is whole, starts at its first line, and reaches as
 * far as its head record and the store say it was written. The order of lines of different writers follows from where
 * each line ends: a line begins right after the one before it of its chain, or the next batch says where it ended.
 */
import { formatEnd, genesis, unknownEnd, type ChainHead, type Piece } from './line.ts';

/** Where a piece stands. `file` is a path, `line` counts from 1. */
interface Place {
  readonly file: string;
  readonly line: number;
}

/**
 * - `edited`: a line was changed after it was written.
 * - `missing`: lines are gone from the beginning or the middle of a chain.
 * - `cut`: lines are gone from the end of a chain.
 * - `reordered`: a line stands later than it was written.
 * - `repeated`: a line stands there twice, or an older state of the log was written on.
 * - `foreign`: a line that no writer of this log wrote.
 */
type ProblemKind = 'edited' | 'missing' | 'cut' | 'reordered' | 'repeated' | 'foreign';

/** Where a piece lies: the number of its file (see `LogSource`), its first byte and the one after its last. */
interface Extent {
  readonly number: number;
  readonly from: number;
  readonly to: number;
}

/** Lines of a chain that are gone. */
export interface Gap {
  readonly node: string;
  readonly from: number;
  readonly to: number;
}

/** One thing that is not as it was written. */
export interface Problem extends Place {
  readonly kind: ProblemKind;
  /** One sentence for people. */
  readonly sentence: string;
}

/** One writer's chain as it was found. */
export interface ChainExtent {
  readonly node: string;
  /** `seq` of its first and last line in the log; 0 where it has none. */
  readonly first: number;
  readonly last: number;
}

interface Chain {
  readonly node: string;
  first: number;
  last: number;
  hash: string;
  at: Place;
  /** The number of the file that has its last line; 0: not known. */
  file: number;
  /** The byte after its last line in that file; 0: not known. */
  end: number;
  /** The last line began elsewhere than right after the one before, and no later one has said where it ended. */
  moved: boolean;
  /** Its writer says where lines end, which writers of logs made before prev_end do not. */
  tellsEnds: boolean;
  readonly holes: { from: number; to: number; readonly before: Place }[];
}

/** What was found of all pieces. */
export interface ChainFindings {
  readonly lines: number;
  /** Beginnings of lines whose end was never written. No line is missing for them: they record nothing. */
  readonly torn: number;
  readonly chains: readonly ChainExtent[];
  /** The last line of each node, removed ones included. */
  readonly heads: ReadonlyMap<string, ChainHead>;
  /** Lines that are gone and whose loss nobody has accepted. */
  readonly gaps: readonly Gap[];
  /** How many lines are gone whose loss was accepted. */
  readonly accepted: number;
  /** At most `problemLimit` of them. */
  readonly problems: readonly Problem[];
  /** How many more there are. */
  readonly omitted: number;
}

/** What a chain's line was elsewhere said to be. */
export interface AnchoredLine {
  readonly hash: string;
  /** When the anchor was made: ISO 8601. */
  readonly time: string;
}

/** What is known of the chains besides the log and its head records. */
interface WalkOptions {
  /** The last line of each node that retention removed: the chain continues from it. */
  readonly starts?: ReadonlyMap<string, ChainHead> | undefined;
  /** Lines of each node by their number, as anchors name them. */
  readonly anchored?: ReadonlyMap<string, ReadonlyMap<number, AnchoredLine>> | undefined;
  /** The last line of each node by what the store says. */
  readonly stored?: ReadonlyMap<string, ChainHead> | undefined;
  /** Only the beginning of a log is walked: where the chains end says nothing. */
  readonly openEnded?: boolean | undefined;
}

/** How many problems are told one by one. */
export const problemLimit = 10_000;

/** A walk over the pieces of a log. */
export interface ChainWalk {
  /** The next piece, in the order of the log. Without its extent, nothing is said of where it stands. */
  see(piece: Piece, place: Place, extent?: Extent): void;
  /** The loss of these lines was accepted. */
  accept(gap: Gap): unknown;
  /** What was found, now that there are no more. */
  finish(): ChainFindings;
}

/**
 * @param heads How far each node's chain was written, by its head record. A node without one has lost it.
 * @param headPlace Where the head records are: the place of problems that belong to no line.
 */
export function walkChains(
  heads: ReadonlyMap<string, ChainHead>,
  headPlace: Place,
  { starts = new Map(), anchored = new Map(), stored = new Map(), openEnded = false }: WalkOptions = {},
): ChainWalk {
  const chains = new Map<string, Chain>();
  const broken: { piece: Exclude<Piece, { kind: 'line' }>; place: Place; file: number }[] = [];
  const problems: Problem[] = [];
  const accepted: Gap[] = [];
  /** Lines that stand elsewhere than they were written. */
  const misplaced: {
    readonly place: Place;
    readonly file: number;
    readonly node: string;
    readonly seq: number;
  }[] = [];
  /**
   * Files, from the first number to the last, in which lines were changed, removed or added: that some others stand
   * elsewhere follows from it.
   */
  const disturbed = new Map<string, readonly [number, number]>();
  let lines = 0;
  let omitted = 0;

  function report(place: Place, kind: ProblemKind, sentence: string): void {
    if (problems.length < problemLimit) problems.push({ file: place.file, line: place.line, kind, sentence });
    else omitted += 1;
  }

  function begin(node: string, at: Place): Chain {
    const start = starts.get(node) ?? { seq: 0, hash: genesis };
    const { seq, hash, end } = start;
    const [file = 0, byte = 0] = end?.split(':').map(Number) ?? [];
    return {
      node,
      first: 0,
      last: seq,
      hash,
      at,
      file,
      end: byte,
      moved: false,
      tellsEnds: end !== undefined,
      holes: [],
    };
  }

  function disturb(from: number, to: number): void {
    disturbed.set(`${from} ${to}`, [from, to]);
  }

  function misplace({ node, last, at, file }: Chain): void {
    if (misplaced.length < problemLimit) misplaced.push({ place: at, file, node, seq: last });
    else omitted += 1;
  }

  /** Takes in where the next line of a chain stands, and what it says of the line before, which is the last of the chain. */
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
    let chain = chains.get(node);
    if (chain === undefined) {
      chain = { ...begin(node, place), first: seq };
      chains.set(node, chain);
    }
    const anchor = anchored.get(node)?.get(seq);
    if (anchor !== undefined && anchor.hash !== piece.hash) {
      report(
        place,
        'repeated',
        `Line ${seq} of ${node} is not the one that the anchor of ${anchor.time} names: the log was put back and written anew.`,
      );
    }
    const head = heads.get(node);
    if (head?.seq === seq && head.hash !== piece.hash) {
      report(
        place,
        'repeated',
        `Line ${seq} of ${node} is not the one that its head record was written for.`,
      );
    }
    if (seq <= chain.last) {
      if (extent !== undefined) disturb(extent.number, Math.max(chain.file, extent.number));
      if (fill(chain, seq)) {
        report(place, 'reordered', `Line ${seq} of ${node} stands after line ${chain.last}.`);
      } else {
        report(place, 'repeated', `Line ${seq} of ${node} stands in the log a second time.`);
      }
      return;
    }
    const storedEnd = stored.get(node);
    if (storedEnd?.seq === seq && storedEnd.hash !== piece.hash) {
      report(place, 'repeated', `Line ${seq} of ${node} is not the one that the store names.`);
    }
    if (extent !== undefined && seq === chain.last + 1 && piece.prev === chain.hash) {
      locate(chain, piece.prevEnd, extent);
    } else {
      chain.moved = false;
      if (extent !== undefined) disturb(Math.min(chain.file, extent.number), extent.number);
    }
    if (seq > chain.last + 1) {
      chain.holes.push({ from: chain.last + 1, to: seq - 1, before: place });
    } else if (piece.prev !== chain.hash) {
      report(
        place,
        'missing',
        `Line ${seq} of ${node} was written after another line ${seq - 1} than this log has.`,
      );
    }
    chain.last = seq;
    chain.hash = piece.hash;
    chain.at = place;
    if (extent === undefined) return;
    chain.file = extent.number;
    chain.end = extent.to;
    if (isElsewhere(head, chain) || isElsewhere(storedEnd, chain)) misplace(chain);
  }

  function finish(): ChainFindings {
    const ends = new Map<string, Chain>(chains);
    const silent = [...heads.keys(), ...starts.keys(), ...anchored.keys(), ...stored.keys()];
    for (const node of silent) ends.set(node, ends.get(node) ?? begin(node, headPlace));
    for (const [node, head] of heads) {
      const start = starts.get(node);
      if (
        start !== undefined &&
        (head.seq < start.seq || (head.seq === start.seq && head.hash !== start.hash))
      ) {
        report(
          headPlace,
          'repeated',
          `The head record of ${node} is older than what retention removed of it, or one of the two is of another log.`,
        );
      }
    }
    for (const [node, chain] of ends) {
      const known = Math.max(heads.get(node)?.seq ?? 0, stored.get(node)?.seq ?? 0);
      if (chain.last >= known) continue;
      chain.holes.push({ from: chain.last + 1, to: known, before: END });
      disturb(chain.file, Infinity);
    }
    let torn = 0;
    for (const { piece, place, file } of broken) {
      const claimed = piece.claim === undefined ? undefined : ends.get(piece.claim.node);
      if (piece.claim !== undefined && claimed !== undefined && fill(claimed, piece.claim.seq)) {
        const { node, seq } = piece.claim;
        report(place, 'edited', `Line ${seq} of ${node} was changed after it was written.`);
      } else if (piece.kind === 'torn') {
        torn += 1;
        continue;
      } else {
        report(
          place,
          'foreign',
          `This text was not written by a writer of this log, or was changed beyond recognition.`,
        );
      }
      disturb(file, file);
    }
    let acceptedLines = 0;
    const gaps: Gap[] = [];
    const endsAccepted = new Set<string>();
    for (const { node, from, to } of accepted) {
      const chain = ends.get(node);
      if (chain === undefined) continue;
      for (const hole of chain.holes.slice()) {
        const [first, last] = [Math.max(from, hole.from), Math.min(to, hole.to)];
        if (first > last || !take(chain, first, last)) continue;
        if (hole.before === END) endsAccepted.add(node);
        acceptedLines += last - first + 1;
      }
    }
    for (const chain of ends.values()) {
      for (const { from, to, before } of chain.holes) {
        gaps.push({ node: chain.node, from, to });
        const what = from === to ? `Line ${from}` : `Lines ${from} to ${to}`;
        const verb = from === to ? 'is' : 'are';
        if (before === END) {
          report(
            chain.at,
            'cut',
            to > (heads.get(chain.node)?.seq ?? 0)
              ? `The store names line ${to} of ${chain.node}, and the log ends at line ${chain.last} of it: lines were removed, or an older copy of the log was put back.`
              : `${what} of ${chain.node} ${verb} gone: the log was cut after line ${chain.last} of it.`,
          );
        } else {
          report(before, 'missing', `${what} of ${chain.node} ${verb} gone from before this line.`);
        }
      }
      reportAnchors(chain);
      if (!openEnded && !heads.has(chain.node) && !endsAccepted.has(chain.node)) {
        report(
          chain.at,
          'cut',
          `The head record of ${chain.node} is gone, so a cut of its last lines would not be seen.`,
        );
      }
    }
    for (const { place, file, node, seq } of misplaced) {
      if ([...disturbed.values()].some(([from, to]) => from <= file && file <= to)) continue;
      // Of a file the first: the others follow from it.
      disturb(file, file);
      report(
        place,
        'reordered',
        `Line ${seq} of ${node} stands elsewhere than it was written: lines of several writers were moved, or bytes were added or removed before it.`,
      );
    }
    return {
      gaps,
      accepted: acceptedLines,
      lines,
      torn,
      chains: Array.from(ends.values(), ({ node, first, last }) => ({ node, first, last })),
      heads: new Map(
        Array.from(ends.values(), ({ node, last, hash, file, end }) => [
          node,
          { seq: last, hash, end: file === 0 ? undefined : formatEnd(file, end) },
        ]),
      ),
      problems,
      omitted,
    };
  }

  /** Anchors of lines that the walk did not meet: beyond the end of the chain, or removed by retention. */
  function reportAnchors({ node, last, at, holes }: Chain): void {
    const end = holes.reduce((most, hole) => (hole.before === END ? Math.max(most, hole.to) : most), last);
    const start = starts.get(node);
    for (const [seq, { hash: wanted, time }] of anchored.get(node) ?? []) {
      if (seq > end) {
        const where = last === 0 ? 'has none of it' : `ends at line ${last} of it`;
        report(at, 'cut', `The anchor of ${time} names line ${seq} of ${node}, and the log ${where}.`);
      } else if (seq === start?.seq && start.hash !== wanted) {
        report(
          at,
          'repeated',
          `The last removed line of ${node} is not the one that the anchor of ${time} names.`,
        );
      }
    }
  }

  return { see, accept: (gap) => accepted.push(gap), finish };
}

/** Marks a hole at the end of a chain. */
const END: Place = { file: '', line: 0 };

/** Whether the link is the last line of the chain, and ended elsewhere. */
function isElsewhere(link: ChainHead | undefined, { last, hash, file, end }: Chain): boolean {
  if (link?.seq !== last || link.hash !== hash || link.end === undefined) return false;
  return link.end !== formatEnd(file, end);
}

/** Takes `seq` out of the holes of a chain; answers whether it was in one. */
function fill(chain: Chain, seq: number): boolean {
  return take(chain, seq, seq);
}

/** Takes the lines `first` to `last` out of the hole that they are in; answers whether they were in one. */
function take(chain: Chain, first: number, last: number): boolean {
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
