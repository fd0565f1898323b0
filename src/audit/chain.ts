/**
 * The chains of the log: one per writer, each line carrying the hash of the one before. Pure.
 *
 * Given every piece of the log in order, says whether each chain is whole, starts at its first line, and reaches as
 * far as its head record says it was written. The order of lines of different writers is not chained: their
 * authenticated times tell it.
 */
import { genesis, type Link, type Piece } from './line.ts';

/** Where a piece stands. `file` is a path, `line` counts from 1. */
export interface Place {
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
export type ProblemKind = 'edited' | 'missing' | 'cut' | 'reordered' | 'repeated' | 'foreign';

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
  readonly holes: { from: number; to: number; readonly before: Place }[];
}

/** What was found of all pieces. */
export interface ChainFindings {
  readonly lines: number;
  /** Beginnings of lines whose end was never written. No line is missing for them: they record nothing. */
  readonly torn: number;
  readonly chains: readonly ChainExtent[];
  /** The last line of each node, removed ones included. */
  readonly ends: ReadonlyMap<string, Link>;
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
export interface WalkOptions {
  /** The last line of each node that retention removed: the chain continues from it. */
  readonly starts?: ReadonlyMap<string, Link> | undefined;
  /** Lines of each node by their number, as anchors name them. */
  readonly anchored?: ReadonlyMap<string, ReadonlyMap<number, AnchoredLine>> | undefined;
  /** Only the beginning of a log is walked: where the chains end says nothing. */
  readonly openEnded?: boolean | undefined;
}

/** How many problems are told one by one. */
export const problemLimit = 10_000;

/** A walk over the pieces of a log. */
export interface ChainWalk {
  /** The next piece, in the order of the log. */
  see(piece: Piece, place: Place): void;
  /** What was found, now that there are no more. */
  finish(): ChainFindings;
}

/**
 * @param heads How far each node's chain was written, by its head record. A node without one has lost it.
 * @param headPlace Where the head records are: the place of problems that belong to no line.
 */
export function walkChains(
  heads: ReadonlyMap<string, Link>,
  headPlace: Place,
  { starts = new Map(), anchored = new Map(), openEnded = false }: WalkOptions = {},
): ChainWalk {
  const chains = new Map<string, Chain>();
  const broken: { piece: Exclude<Piece, { kind: 'line' }>; place: Place }[] = [];
  const problems: Problem[] = [];
  let lines = 0;
  let omitted = 0;

  function report(place: Place, kind: ProblemKind, sentence: string): void {
    if (problems.length < problemLimit) problems.push({ file: place.file, line: place.line, kind, sentence });
    else omitted += 1;
  }

  function begin(node: string, at: Place): Chain {
    const start = starts.get(node) ?? { seq: 0, hash: genesis };
    return { node, first: 0, last: start.seq, hash: start.hash, at, holes: [] };
  }

  function see(piece: Piece, place: Place): void {
    if (piece.kind !== 'line') {
      if (broken.length < problemLimit) broken.push({ piece, place });
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
      if (fill(chain, seq)) {
        report(place, 'reordered', `Line ${seq} of ${node} stands after line ${chain.last}.`);
      } else {
        report(place, 'repeated', `Line ${seq} of ${node} stands in the log a second time.`);
      }
      return;
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
  }

  function finish(): ChainFindings {
    const ends = new Map<string, Chain>(chains);
    const silent = [...heads.keys(), ...starts.keys(), ...anchored.keys()];
    for (const node of silent) ends.set(node, ends.get(node) ?? begin(node, headPlace));
    for (const [node, head] of heads) {
      const chain = ends.get(node);
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
      if (chain !== undefined && chain.last < head.seq) {
        chain.holes.push({ from: chain.last + 1, to: head.seq, before: END });
      }
    }
    let torn = 0;
    for (const { piece, place } of broken) {
      const claimed = piece.claim === undefined ? undefined : ends.get(piece.claim.node);
      if (piece.claim !== undefined && claimed !== undefined && fill(claimed, piece.claim.seq)) {
        const { node, seq } = piece.claim;
        report(place, 'edited', `Line ${seq} of ${node} was changed after it was written.`);
      } else if (piece.kind === 'torn') {
        torn += 1;
      } else {
        report(
          place,
          'foreign',
          `This text was not written by a writer of this log, or was changed beyond recognition.`,
        );
      }
    }
    for (const chain of ends.values()) {
      for (const { from, to, before } of chain.holes) {
        const what = from === to ? `Line ${from}` : `Lines ${from} to ${to}`;
        const verb = from === to ? 'is' : 'are';
        if (before === END) {
          report(
            chain.at,
            'cut',
            `${what} of ${chain.node} ${verb} gone: the log was cut after line ${chain.last} of it.`,
          );
        } else {
          report(before, 'missing', `${what} of ${chain.node} ${verb} gone from before this line.`);
        }
      }
      reportAnchors(chain);
      if (!openEnded && !heads.has(chain.node)) {
        report(
          chain.at,
          'cut',
          `The head record of ${chain.node} is gone, so a cut of its last lines would not be seen.`,
        );
      }
    }
    return {
      lines,
      torn,
      chains: Array.from(ends.values(), ({ node, first, last }) => ({ node, first, last })),
      ends: new Map(Array.from(ends.values(), ({ node, last, hash }) => [node, { seq: last, hash }])),
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

  return { see, finish };
}

/** Marks a hole at the end of a chain. */
const END: Place = { file: '', line: 0 };

/** Takes `seq` out of the holes of a chain; answers whether it was in one. */
function fill(chain: Chain, seq: number): boolean {
  const index = chain.holes.findIndex((hole) => hole.from <= seq && seq <= hole.to);
  const hole = chain.holes[index];
  if (hole === undefined) return false;
  const rest = [
    { ...hole, to: seq - 1 },
    { ...hole, from: seq + 1 },
  ].filter(({ from, to }) => from <= to);
  chain.holes.splice(index, 1, ...rest);
  return true;
}
