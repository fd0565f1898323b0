/** The values of the variables in a row of test/fixtures/smuggling. */
export interface Place {
  /** The authority in the form of `Host`. */
  readonly host: string;
  /** The request target of a path: in absolute-form outside a tunnel. */
  readonly target: (path: string) => string;
}

/** The receiver of the row: the codec alone, or a tunnel. */
export const insideOf = (host: string): Place => ({ host, target: (path) => path });

/**
 * The bytes of a row. `<front>` is the target of the request that the smuggler shows, and `<hidden>` the
 * whole request that is hidden: a good one, which would be served wherever it is taken for a request.
 * `<length>` and `<hex>` say how long it is. `<host>` is the authority, and `<absolute>` a target in absolute
 * form.
 */
export function bytesOf(row: string, { host, target }: Place): string {
  const hidden = `GET ${target('/hidden')} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
  return row
    .replaceAll('<hidden>', hidden)
    .replaceAll('<length>', String(hidden.length))
    .replaceAll('<hex>', hidden.length.toString(16))
    .replaceAll('<front>', target('/front'))
    .replaceAll('<host>', host);
}

/** A POST with these field lines and these bytes after its head. */
export const post = (fields: string, body = '') =>
  `POST <front> HTTP/1.1\r\nHost: <host>\r\n${fields}\r\n\r\n${body}`;

/** A POST with a chunked body, with these bytes after its head. */
export const chunks = (body: string) => post('Transfer-Encoding: chunked', body);
