/** All payload of a region in one piece of its own, without what frames it; null: there is none. */
export function copyOfPayload(bytes: Buffer, spans: readonly number[]): Buffer | null {
  let size = 0;
  for (let i = 0; i < spans.length; i += 2) size += spans[i + 1]! - spans[i]!;
  if (size === 0) return null;
  const piece = Buffer.allocUnsafe(size);
  let at = 0;
  for (let i = 0; i < spans.length; i += 2) at += bytes.copy(piece, at, spans[i], spans[i + 1]);
  return piece;
}

/** All payload of a region, moved together in it over what frames it; null: there is none. */
export function payloadTogether(bytes: Buffer, spans: readonly number[]): Buffer | null {
  const start = spans[0];
  if (start === undefined) return null;
  let at = start;
  for (let i = 0; i < spans.length; i += 2) {
    const [from = at, to = at] = [spans[i], spans[i + 1]];
    if (from !== at) bytes.copyWithin(at, from, to);
    at += to - from;
  }
  return at === start ? null : bytes.subarray(start, at);
}

/** As `copyOfPayload`, as it stands there where it lies together. */
export function payloadIn(bytes: Buffer, spans: readonly number[]): Buffer | null {
  if (spans.length !== 2) return copyOfPayload(bytes, spans);
  return spans[0]! < spans[1]! ? bytes.subarray(spans[0], spans[1]) : null;
}
