import { fold, percentDecoded } from './fold.ts';
import { operationsOf, type GraphqlOperation } from './graphql.ts';
import type { ReadQuery } from './path-reading.ts';
import { isJsonObject, memberOf, parseStrictJson, type Json, type JsonObject } from './strict-json.ts';

/** GraphQL requests as clients send them (GraphQL over HTTP, §5): the document and what stands beside it. */

/** What clients call a document that the server knows already, as `documentName` writes it. */
const hashNames = new Set([
  'id',
  'hash',
  'sha256',
  'sha256hash',
  'docid',
  'documentid',
  'documenthash',
  'documentname',
  'operationid',
  'operationhash',
  'operationkey',
  'queryid',
  'queryhash',
  'querykey',
  'mutationid',
  'persistedid',
  'persistedhash',
  'persistedquery',
  'persistedqueryid',
  'persistedqueryhash',
  'persisteddocument',
  'persisteddocumentid',
  'persistedoperation',
  'persistedoperationid',
  'trustedid',
  'trusteddocumentid',
]);

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
  const namesDocument = Object.entries(request).some(([key, value]) => {
    const known = documentName(key);
    return value !== null && (hashNames.has(known) || (known === 'extensions' && hasDocumentName(value)));
  });
  if (namesDocument) return null;
  const operations = operationsOf(query);
  const isThere =
    typeof name !== 'string' || name === '' || operations?.some((it) => it.name === name) === true;
  return isThere ? operations : null;
}

/** Reports whether `extensions` name a document, as those of Apollo do (`persistedQuery.sha256Hash`), or cannot be read. */
function hasDocumentName(extensions: Json): boolean {
  const value = typeof extensions === 'string' ? parseStrictJson(extensions) : extensions;
  if (value === null) return false;
  if (!isJsonObject(value)) return true;
  return Object.entries(value).some(([key, inner]) => inner !== null && isDocumentName(key));
}

function isDocumentName(key: string): boolean {
  const known = documentName(key);
  return hashNames.has(known) || known.startsWith('persisted') || known.startsWith('apq');
}

/** The operations that a URL names, also none; null: it names some that cannot be read. */
export function urlOperations(query: ReadQuery): readonly GraphqlOperation[] | null {
  const documents = query.get('query') ?? [];
  for (const name of query.keys()) {
    if (name === 'query') continue;
    const known = documentName(name);
    const isHash =
      hashNames.has(known) ||
      (known === 'extensions' &&
        (documents.length === 0 || query.get(name)?.some((text) => hasDocumentName(text)) === true));
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
