import { describe, expect, it } from 'vitest';
import {
  columns,
  createDisplay,
  details,
  type Display,
  table,
  wrapMessage,
} from '../../../src/cli/display.ts';
import { visible } from '../../../src/lib/text.ts';

const pipe = createDisplay({}, {});

describe('a table', () => {
  it('has columns as wide as the widest cell, without trailing spaces', () => {
    expect(
      table(
        pipe,
        ['A', 'LONG'],
        [
          ['wider', 'x'],
          ['y', ''],
        ],
      ),
    ).toBe('A      LONG\nwider  x\ny');
  });

  it('accepts rows of different lengths, and no rows', () => {
    expect(columns(pipe, [['a'], ['bb', 'c']])).toEqual(['a', 'bb  c']);
    expect(columns(pipe, [])).toEqual([]);
  });

  it('shows names beside values, and omits empty values', () => {
    expect(details(pipe, 'title', { a: 'x', missing: null, longer: 'y' })).toBe(
      'title\n  a       x\n  longer  y',
    );
  });

  it('escapes control characters', () => {
    expect(visible('a\u001b[31m\u0007\u009b\u200e\u202e\u2028b\n')).toBe(
      String.raw`a\u001b[31m\u0007\u009b\u200e\u202e\u2028b\u000a`,
    );
    expect(details(pipe, 't\u001b', { 'n\u001b': 'v\u001b' })).not.toContain('\u001b');
    expect(visible('Zoë 東京 …')).toBe('Zoë 東京 …');
  });
});

const terminal = (width: number, env: Record<string, string> = { NO_COLOR: '1' }) =>
  createDisplay({ isTTY: true, columns: width }, env);

describe('a table on a terminal', () => {
  const headings = ['NAME', 'STATE', 'SCOPES', 'PURPOSE'];
  const row = ['github', 'active', 'read:user repo workflow gist', 'nightly build of the web site'];
  const shape = { least: ['PURPOSE', 'SCOPES'] };

  it('shortens only the widest of the least important columns', () => {
    const [, line = ''] = table(terminal(60), headings, [row], shape).split('\n');
    expect(line).toMatch(/^github {2}active {2}read:user repo \w+… {2}nightly build of t\w*…$/);
    expect(line.length).toBeLessThanOrEqual(60);
  });

  it('omits the least important columns if shortening is not enough', () => {
    expect(table(terminal(35), headings, [row], shape)).toBe(
      'NAME    STATE   SCOPES\ngithub  active  read:user repo wor…',
    );
  });

  it('has its full width in a pipe, regardless of COLUMNS', () => {
    const piped = createDisplay({ columns: 20 }, { COLUMNS: '20' });
    expect(table(piped, headings, [row], shape)).toContain(row.join('  '));
  });

  it('counts the columns of wide characters', () => {
    expect(table(terminal(80), ['A', 'B'], [['漢字', 'x']])).toBe('A     B\n漢字  x');
  });

  it('colors states, but not with NO_COLOR, TERM=dumb or in a pipe', () => {
    const rows = [
      ['a', 'active'],
      ['b', 'expired'],
      ['active', 'reauth_required'],
    ];
    const told = (display: Display) => table(display, ['NAME', 'STATE'], rows).split('\n').slice(1);
    expect(told(terminal(80, {}))).toEqual([
      'a       \u001b[32mactive\u001b[39m',
      'b       \u001b[31mexpired\u001b[39m',
      'active  \u001b[33mreauth_required\u001b[39m',
    ]);
    for (const plain of [
      terminal(80),
      terminal(80, { TERM: 'dumb' }),
      createDisplay({}, { FORCE_COLOR: '1' }),
    ]) {
      expect(told(plain)).toEqual(['a       active', 'b       expired', 'active  reauth_required']);
    }
  });

  it('wraps the last column of facts at its words', () => {
    expect(columns(terminal(30), [['name', 'one two three four five six']])).toEqual([
      'name  one two three four five',
      '      six',
    ]);
  });

  it('wraps messages at words, and keeps commands whole', () => {
    const command = '  → sidekey grant set github --expires 90d';
    expect(wrapMessage(`one two three four\n${command}\n  → ask the owner of it`, { width: 14 })).toBe(
      `one two three\nfour\n${command}\n  → ask the\n    owner of\n    it`,
    );
  });

  it('wraps the words around a command, and keeps the command whole', () => {
    const text = '  → sidekey domain tunnel a.example (no credential), or sidekey domain allow a.example';
    expect(wrapMessage(text, { width: 40 })).toBe(
      '  → sidekey domain tunnel a.example (no\n    credential),\n    or sidekey domain allow a.example',
    );
    expect(wrapMessage('  → name the variable: node /srv/sidekey.js connect a', { width: 24 })).toBe(
      '  → name the variable:\n    node /srv/sidekey.js connect a',
    );
  });
});
