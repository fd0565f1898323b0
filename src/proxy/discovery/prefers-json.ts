/**
 * Whether a client would rather have JSON than text (RFC 9110 §12.5.1). Ranges with a star say nothing about it: who takes
 * anything gets the text, which is for reading.
 */
export function prefersJson(accept: string): boolean {
  const weights = new Map(accept.split(',').map(weighed));
  const json = weights.get('application/json') ?? 0;
  return json > 0 && json >= (weights.get('text/plain') ?? 0);
}

function weighed(part: string): [type: string, weight: number] {
  const [type = '', ...parameters] = part.split(';').map((piece) => piece.trim().toLowerCase());
  const [, weight] =
    parameters.map((parameter) => /^q=([01](?:\.\d{0,3})?)$/.exec(parameter)).find(Boolean) ?? [];
  return [type, weight === undefined ? 1 : Number(weight)];
}
