import { canonicalPath } from './canonical-path.ts';
import { canonicalQuery } from './canonical-query.ts';

/** What of a request is signed. */
export interface SignedParts {
  readonly method: string;
  /** Origin-form, with its query. */
  readonly path: string;
  /** Name, value, name, value… as they are sent. */
  readonly fields: readonly string[];
  /** Names in lower case. Those that the request does not have are left out. */
  readonly signed: ReadonlySet<string>;
  /** What stands for the body: its SHA-256, or a word. */
  readonly payload: string;
  readonly service: string;
}

/** The request as the one text that is hashed, and which fields are in it. */
export interface CanonicalRequest {
  /** Each character is one byte. */
  readonly text: string;
  readonly signedHeaders: string;
}

/** https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html, step 1. */
export function canonicalRequest(parts: SignedParts): CanonicalRequest {
  const { method, path, service, payload } = parts;
  const mark = path.indexOf('?');
  const values = signedValues(parts);
  const names = [...values.keys()].toSorted();
  const signedHeaders = names.join(';');
  const lines = names.map((name) => `${name}:${values.get(name)!.join(',')}\n`).join('');
  const head = canonicalPath(mark < 0 ? path : path.slice(0, mark), service);
  const query = mark < 0 ? '' : canonicalQuery(path.slice(mark + 1));
  return {
    text: `${method}\n${head}\n${query}\n${lines}\n${signedHeaders}\n${payload}`,
    signedHeaders,
  };
}

function signedValues({ fields, signed }: SignedParts): Map<string, string[]> {
  const values = new Map<string, string[]>();
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase();
    if (!signed.has(name)) continue;
    const value = fields[i + 1]!.replace(/^[ \t]+|[ \t]+$/g, '').replace(/[ \t]+/g, ' ');
    const known = values.get(name);
    if (known === undefined) values.set(name, [value]);
    else known.push(value);
  }
  return values;
}
