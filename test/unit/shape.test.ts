/**
 * The size of the code, compared with test/unit/shape.json. A change that needs more raises a ceiling there,
 * in its own commit and with the reason. A change that needs less lowers it: `SIDEKEY_TEST_SHAPE=write npx
 * vitest run test/unit/shape.test.ts`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAst } from 'rolldown/parseAst';
import { describe, expect, test } from 'vitest';
import { folderOf } from './layers.ts';
import { sourceFiles } from './source-files.ts';

interface Shape {
  /** Lines and files of each room of `src`. */
  readonly rooms: Readonly<Record<string, { readonly lines: number; readonly files: number }>>;
  /** Functions with five parameters or more. */
  readonly functionsWithManyParameters: number;
  /** Lines of comments that are longer than the print width. */
  readonly wideCommentLines: number;
}

const ceilingsFile = join(import.meta.dirname, 'shape.json');
const printWidth = 110;
const maxParameters = 4;

/** Generated from the routes, and not in git. */
const generated = new Set(['sdk/client/operations.ts']);

function shapeOf(files: ReadonlyMap<string, string>): Shape {
  const written = Array.from(files).filter(([file]) => !generated.has(file));
  const byRoom = Object.entries(Object.groupBy(written, ([file]) => folderOf(file))).toSorted(([a], [b]) =>
    a < b ? -1 : 1,
  );
  const sum = (of: (text: string, file: string) => number) =>
    written.reduce((total, [file, text]) => total + of(text, file), 0);
  return {
    rooms: Object.fromEntries(
      byRoom.map(([room, members = []]) => [
        room,
        { lines: members.reduce((total, [, text]) => total + linesOf(text), 0), files: members.length },
      ]),
    ),
    functionsWithManyParameters: sum(manyParameters),
    wideCommentLines: sum(
      (text) =>
        text.split('\n').filter((line) => line.length > printWidth && /^\s*(?:\/\/|\/?\*)/.test(line)).length,
    ),
  };
}

function linesOf(text: string): number {
  return text.trimEnd().split('\n').length;
}

function manyParameters(text: string, file: string): number {
  let functions = 0;
  const walk = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    if (
      'type' in value &&
      'params' in value &&
      Array.isArray(value.params) &&
      /Function|Method/.test(String(value.type))
    )
      functions += value.params.length > maxParameters ? 1 : 0;
    Object.values(value).forEach(walk);
  };
  walk(parseAst(text, { lang: file.endsWith('.tsx') ? 'tsx' : 'ts' }));
  return functions;
}

describe('the shape of src', () => {
  test('is within its ceilings', () => {
    const shape = shapeOf(sourceFiles());
    if (process.env['SIDEKEY_TEST_SHAPE'] === 'write')
      writeFileSync(ceilingsFile, `${JSON.stringify(shape, null, 2)}\n`);
    const ceilings = JSON.parse(readFileSync(ceilingsFile, 'utf8')) as Shape;
    const beyond = Object.entries(shape.rooms).flatMap(([room, { lines, files }]) => {
      const ceiling = ceilings.rooms[room] ?? { lines: 0, files: 0 };
      return [
        ...(lines > ceiling.lines ? [`${room}: ${lines} lines, the ceiling is ${ceiling.lines}`] : []),
        ...(files > ceiling.files ? [`${room}: ${files} files, the ceiling is ${ceiling.files}`] : []),
      ];
    });
    expect(beyond).toEqual([]);
    expect(shape.functionsWithManyParameters).toBeLessThanOrEqual(ceilings.functionsWithManyParameters);
    expect(shape.wideCommentLines).toBeLessThanOrEqual(ceilings.wideCommentLines);
  });

  test('counts lines, files, parameters and wide comments', () => {
    const wide = ` * ${'x'.repeat(printWidth)}`;
    const files = new Map([
      ['lib/a.ts', 'function f(a, b, c, d, e) {}\nconst g = (a, b, c, d) => a;\n'],
      ['lib/b.ts', `/**\n${wide}\n */\nclass K {\n  m(a, b, c, d, e = 1) {}\n}\n`],
      ['sdk/client/operations.ts', 'export {};\n'],
    ]);
    expect(shapeOf(files)).toEqual({
      rooms: { lib: { lines: 8, files: 2 } },
      functionsWithManyParameters: 2,
      wideCommentLines: 1,
    });
  });
});
