/**
 * The header rules: what of a message is for the proxy alone, and what goes on. Pure, over raw fields.
 */

/** Field names and values in turn, as they stood in the message: order, case and repeats kept. */
export type RawFields = readonly string[];

/** Fields that concern one connection (RFC 9110 §7.6.1, RFC 9112 §6.1 and §9.6), in lower case. */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]);

/** Never let `Connection` take these out: they frame or address the message, or Sidekey relies on them. */
const notNominable = new Set(['host', 'content-length', 'authorization', 'trailer']);

/** Asked of us and answered by us: they never leave. `expect` is answered by the proxy itself. */
function isForProxy(name: string): boolean {
  return name.startsWith('proxy-') || name.startsWith('sidekey-') || name === 'expect' || name === 'host';
}

/** The values of one field, in order. `name` in lower case. */
export function valuesOf(fields: RawFields, name: string): string[] {
  const values: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    const candidate = fields[i]!;
    if (candidate.length === name.length && candidate.toLowerCase() === name) values.push(fields[i + 1]!);
  }
  return values;
}

/**
 * The request fields that go upstream, `Host` first and set to the one authority. Framing is left to whoever sends:
 * `Content-Length` stays as it was, `Transfer-Encoding` is of this connection.
 */
export function requestFields(fields: RawFields, host: string): string[] {
  return ['Host', host, ...endToEnd(fields, isForProxy)];
}

/**
 * The response fields that go to the client. What only a proxy may say is dropped, so that no upstream can speak as
 * Sidekey; on domains that carry a grant so is `Alt-Svc`, which would lead a client around the proxy (RFC 7838).
 */
export function responseFields(fields: RawFields, carriesGrant: boolean): string[] {
  return endToEnd(
    fields,
    (name) =>
      name.startsWith('proxy-') || name.startsWith('sidekey-') || (carriesGrant && name === 'alt-svc'),
  );
}

function endToEnd(fields: RawFields, isDropped: (name: string) => boolean): string[] {
  const nominated = nominatedBy(fields);
  const kept: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase();
    if (hopByHop.has(name) || isDropped(name) || nominated?.has(name) === true) continue;
    kept.push(fields[i]!, fields[i + 1]!);
  }
  return kept;
}

/** Fields that `Connection` declares to be of this connection alone (RFC 9110 §7.6.1). */
function nominatedBy(fields: RawFields): Set<string> | null {
  let nominated: Set<string> | null = null;
  for (const value of valuesOf(fields, 'connection')) {
    if (value === 'keep-alive' || value === 'close') continue;
    for (const option of value.split(',')) {
      const name = option.trim().toLowerCase();
      if (name !== '' && !notNominable.has(name)) (nominated ??= new Set()).add(name);
    }
  }
  return nominated;
}
