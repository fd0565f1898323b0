import { describe, expect, it } from 'vitest';
import { problemLimit, walkChains } from '../../../src/audit/chain.ts';
import { genesis, prevOf, type ChainHead } from '../../../src/audit/line.ts';
import type { Piece } from '../../../src/audit/piece.ts';

/** The `seq`th line of a chain whose hashes are `<node><seq>` and some more. */
function line(node: string, seq: number, over: Partial<Extract<Piece, { kind: 'line' }>> = {}): Piece {
  const prev = prevOf(seq === 1 ? genesis : hashOf(node, seq - 1));
  return { kind: 'line', node, seq, prev, hash: hashOf(node, seq), event: 'access', ...over };
}

function hashOf(node: string, seq: number): string {
  return `${node}${seq}`.padEnd(22, '.');
}

function broken(kind: 'torn' | 'altered', claim?: { node: string; seq: number }): Piece {
  return { kind, claim };
}

/** Walks the pieces, one a line, and says what was wrong as `kind line`. */
function walk(pieces: Piece[], heads: Record<string, ChainHead | number>) {
  const links = Object.entries(heads).map(([node, head]): [string, ChainHead] => [
    node,
    typeof head === 'number' ? { seq: head, hash: hashOf(node, head) } : head,
  ]);
  const chains = walkChains(new Map(links), { file: 'head', line: 1 });
  for (const [index, piece] of pieces.entries()) chains.see(piece, { file: 'log', line: index + 1 });
  const found = chains.finish();
  return { ...found, told: found.problems.map(({ file, line, kind }) => `${kind} ${file} ${line}`) };
}

const [a1, a2, a3, a4] = [line('a', 1), line('a', 2), line('a', 3), line('a', 4)];

describe('verifying the chains', () => {
  it('finds no problem in complete chains, in any interleaving', () => {
    const found = walk([a1, line('b', 1), line('b', 2), a2, a3], { a: 3, b: 2 });
    expect(found).toMatchObject({ lines: 5, torn: 0, told: [] });
    expect(found.chains).toEqual([
      { node: 'a', first: 1, last: 3 },
      { node: 'b', first: 1, last: 2 },
    ]);
  });

  it('accepts a chain beyond its head, as after a kill between the two writes', () => {
    expect(walk([a1, a2, a3], { a: 2 }).told).toEqual([]);
  });

  it('reports lines missing at the beginning and in the middle', () => {
    expect(walk([a2, a3], { a: 3 }).told).toEqual(['missing log 1']);
    expect(walk([a1, a3, a4], { a: 4 }).told).toEqual(['missing log 2']);
    expect(walk([a1, a4], { a: 4 }).problems[0]?.sentence).toContain('Lines 2 to 3 (writer a) are missing');
  });

  it('reports truncation by the head, including of a whole chain', () => {
    expect(walk([a1, a2], { a: 4 }).told).toEqual(['cut log 2']);
    expect(walk([], { a: 4 }).told).toEqual(['cut head 1']);
    expect(walk([], { a: { seq: 0, hash: genesis } }).told).toEqual([]);
  });

  it('reports a chain without its head', () => {
    expect(walk([a1, a2], {}).told).toEqual(['cut log 2']);
  });

  it('reports a moved line once', () => {
    expect(walk([a1, a3, a2, a4], { a: 4 }).told).toEqual(['reordered log 3']);
  });

  it('reports a duplicate line', () => {
    expect(walk([a1, a2, a2, a3], { a: 3 }).told).toEqual(['repeated log 3']);
  });

  it('reports an authentic line that follows a line missing from the log', () => {
    expect(walk([a1, line('a', 2, { hash: 'other' }), a3], { a: 3 }).told).toEqual(['missing log 3']);
  });

  it('reports a line that does not match its head', () => {
    expect(walk([a1, line('a', 2, { hash: 'other' })], { a: 2 }).told).toEqual(['repeated log 2']);
  });

  it('reports an edited line as one problem, including the last line', () => {
    expect(walk([a1, broken('altered', { node: 'a', seq: 2 }), a3], { a: 3 }).told).toEqual(['edited log 2']);
    expect(walk([a1, broken('torn', { node: 'a', seq: 2 }), a3], { a: 3 }).told).toEqual(['edited log 2']);
    expect(walk([a1, broken('altered', { node: 'a', seq: 2 })], { a: 2 }).told).toEqual(['edited log 2']);
  });

  it('reports text that is not a line, and the missing lines beside it', () => {
    expect(walk([a1, broken('altered'), a2], { a: 2 }).told).toEqual(['foreign log 2']);
    expect(walk([a1, broken('altered'), a3], { a: 3 }).told).toEqual(['foreign log 2', 'missing log 3']);
  });

  it('accepts a torn line only if no line is missing', () => {
    expect(walk([a1, broken('torn', { node: 'a', seq: 2 }), a2], { a: 2 })).toMatchObject({
      told: [],
      torn: 1,
    });
    expect(walk([a1, broken('torn', { node: 'a', seq: 2 })], { a: 1 })).toMatchObject({ told: [], torn: 1 });
    expect(walk([a1, broken('torn'), a3], { a: 3 }).told).toEqual(['missing log 3']);
  });

  it('reports problems up to its limit, and counts the rest', () => {
    const found = walk(
      Array.from({ length: problemLimit + 5 }, () => broken('altered')),
      {},
    );
    expect([found.problems.length, found.omitted]).toEqual([problemLimit, 5]);
  });
});
