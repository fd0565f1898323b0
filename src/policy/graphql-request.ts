import { fold, percentDecoded } from './fold.ts';
import { operationsOf, type GraphqlOperation } from './graphql.ts';
import type { ReadQuery } from './path-reading.ts';
import { memberOf, type JsonObject } from './strict-json.ts';

/** GraphQL requests as clients send them (GraphQL over HTTP, §5): the document and what stands beside it. */

/** What clients call a document that the server knows already, as `documentName` writes it. */
const hashNames = new Set(['documentid', 'documenthash', 'docid', 'queryid', 'queryhash']);

/**
 * A name as the most forgiving server reads it: `Query`, `query[]`, ` query` and `%71uery` are all `query`, and `doc_id` is
 * `docid`.
 */
function documentName(name: string): string {
  const [bare = ''] = fold(percentDecoded(name)).replace(/^\[+/, '').split(/[[\]]/, 1);
  return bare.replace(/[^\p{L}\p{N}]/gu, '');
}

/** One request of a body, or of a batch; null: it cannot be read. A document that is named by its hash cannot. */
export function operationsOfBody(request: JsonObject): readonly GraphqlOperation[] | null {
  const query = memberOf(request, 'query');
  const name = memberOf(request, 'operationName');
  if (typeof query !== 'string' || (name !== undefined && name !== null && typeof name !== 'string'))
    return null;
  // Beside a document, servers differ in which of the two they run.
  if (Object.entries(request).some(([key, value]) => value !== null && hashNames.has(documentName(key))))
    return null;
  const operations = operationsOf(query);
  const isThere =
    typeof name !== 'string' || name === '' || operations?.some((it) => it.name === name) === true;
  return isThere ? operations : null;
}

/** The operations that a URL names, also none; null: it names some that cannot be read. */
export function urlOperations(query: ReadQuery): readonly GraphqlOperation[] | null {
  const documents = query.get('query') ?? [];
  for (const name of query.keys()) {
    if (name === 'query') continue;
    const known = documentName(name);
    // The hash of a document stands in `extensions` too; beside the document it says no more.
    const isHash = hashNames.has(known) || (known === 'extensions' && documents.length === 0);
    if (isHash || known === 'query') return null;
  }
  const all: GraphqlOperation[] = [];
  for (const document of documents) {
    const operations = operationsOf(document);
    if (operations === null) return null;
    all.push(...operations);
  }
  return all;
}
