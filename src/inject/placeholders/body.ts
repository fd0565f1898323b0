import { Replacer, type Replacement } from '../../placeholder/replacer.ts';
import { findIn, PlaceholderScanner } from '../../placeholder/scanner.ts';
import type { Injected } from '../inject.ts';
import { streaming, withBody } from '../whole-body.ts';
import { foreign } from './refused.ts';
import type { BodySyntax, Shown, ShownInBody } from './shown.ts';

/**
 * A request with the credential in the place of the placeholders in its body. What was read whole has a length again. What
 * streams has one no more: how often a placeholder comes in it, nobody knows.
 *
 * @param value what a placeholder stands for
 * @throws SidekeyError `placeholder_misused`: one is not of this grant; of a body that streams, while it is read
 */
export function placeInBody(
  request: Injected,
  shown: Shown,
  { syntax, whole }: ShownInBody,
  value: string,
): Injected {
  const replacement: Replacement = {
    texts: shown.texts().map((text) => Buffer.from(text)),
    value: Buffer.from(written(value, syntax)),
  };
  if (whole === null) {
    return streaming(request, (pieces) => replacedIn(pieces, replacement, shown));
  }
  const replacer = new Replacer(replacement);
  const body = Buffer.concat([...replacer.push(whole), ...replacer.end()]);
  if (findIn(body, shown.codes).length > 0) throw foreign('the body');
  return withBody(request, body);
}

/** A form takes its own encoding (URL Standard, urlencoded); in it `%20` is read as `+` is. */
function written(value: string, syntax: BodySyntax): string {
  switch (syntax) {
    case 'json':
      return JSON.stringify(value).slice(1, -1);
    case 'form':
      return encodeURIComponent(value);
    case 'plain':
      return value;
  }
}

async function* replacedIn(
  pieces: AsyncIterable<Buffer> | Iterable<Buffer>,
  replacement: Replacement,
  { codes }: Shown,
): AsyncGenerator<Buffer> {
  const replacer = new Replacer(replacement);
  const scanner = new PlaceholderScanner(codes);
  const checked = (done: readonly Buffer[]) => {
    for (const piece of done) if (scanner.push(piece).length > 0) throw foreign('the body');
    return done;
  };
  for await (const piece of pieces) yield* checked(replacer.push(piece));
  yield* checked(replacer.end());
}
