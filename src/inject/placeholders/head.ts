import { basicPair, replaceIn } from '../../placeholder/in-text.ts';
import type { PlaceholderPlace } from '../../grants/provider.ts';
import { isFieldValue } from '../../policy/field.ts';
import { foreign, misplaced, unfit } from './refused.ts';
import type { Shown } from './shown.ts';

/** The head of a request with the credential in the place of its placeholders. */
export interface PlacedHead {
  readonly path: string;
  readonly fields: readonly string[];
  /** Names, in lower case, of the fields that have it now. */
  readonly carriedIn: readonly string[];
}

/**
 * @param request without the fields that the credential takes over in any case
 * @param value what a placeholder stands for; asked for where there is one
 * @throws SidekeyError `placeholder_misused`: one stands where it may not, or is not of this grant; or the
 * credential cannot
 */
export function placeInHead(
  request: { readonly path: string; readonly fields: readonly string[] },
  shown: Shown,
  value: () => string,
): PlacedHead {
  const carriedIn: string[] = [];
  const fields: string[] = [];
  for (let i = 0; i < request.fields.length; i += 2) {
    const name = request.fields[i]!;
    const before = request.fields[i + 1]!;
    const after = fieldWith(name, before, shown, value);
    if (after !== before) carriedIn.push(name.toLowerCase());
    fields.push(name, after);
  }
  return { path: targetWith(request.path, shown, value), fields, carriedIn };
}

function targetWith(target: string, shown: Shown, value: () => string): string {
  const at = target.indexOf('?');
  const path = at < 0 ? target : target.slice(0, at);
  const written = () => encodeURIComponent(value());
  return (
    replaced(path, { place: 'path', where: 'the path' }, shown, written) +
    replaced(target.slice(path.length), { place: 'query', where: 'the query' }, shown, written)
  );
}

function fieldWith(name: string, before: string, shown: Shown, value: () => string): string {
  const spot = { place: 'header', where: `the header ${name}` } as const;
  // Text of a field is a character a byte.
  const bytes = () => Buffer.from(value()).toString('latin1');
  const after = replaced(before, spot, shown, bytes);
  const pair = after === before && name.toLowerCase() === 'authorization' ? basicPair(before) : null;
  if (pair !== null) {
    const filled = replaced(pair, spot, shown, bytes);
    return filled === pair ? before : `Basic ${Buffer.from(filled, 'latin1').toString('base64')}`;
  }
  if (after !== before && !isFieldValue(after)) {
    throw unfit(spot.where);
  }
  return after;
}

interface Spot {
  readonly place: PlaceholderPlace;
  /** For people. */
  readonly where: string;
}

function replaced(
  text: string,
  { place, where }: Spot,
  { codes, places, texts }: Shown,
  value: () => string,
): string {
  if (codes.find(text).length === 0) return text;
  if (!places.includes(place)) throw misplaced(place, where);
  const done = replaceIn(text, texts(), value());
  if (codes.find(done).length > 0) throw foreign(where);
  return done;
}
