import { readFileSync } from 'node:fs';
import { argv } from 'node:process';
import { openCatalog } from '../src/config/catalog.ts';
import type { Operation } from '../src/domain/provider.ts';

/**
 * `node tools/operations.ts PROVIDER FILE…`: compares the operations of a provider with the descriptions of its
 * APIs (OpenAPI 3 as JSON, or Google's discovery format), which the service publishes. Exit code 1 if a
 * description of the host has no such request.
 */

/** Requests of one API, each as `GET api.acme.test/tickets/{}`. */
interface Api {
  readonly hosts: readonly string[];
  readonly requests: ReadonlySet<string>;
}

interface Methods {
  readonly methods?: Readonly<Record<string, GoogleMethod>>;
  readonly resources?: Readonly<Record<string, Methods>>;
}

interface GoogleMethod {
  readonly httpMethod: string;
  readonly path: string;
  readonly flatPath?: string;
  readonly mediaUpload?: { readonly protocols?: Readonly<Record<string, { readonly path: string }>> };
}

interface Description extends Methods {
  readonly servers?: readonly { readonly url: string }[];
  readonly paths?: Readonly<Record<string, object>>;
  readonly rootUrl?: string;
  readonly servicePath?: string;
}

/** Reads a description. @throws SyntaxError for a text that is not JSON */
export function readApi(text: string): Api {
  const { servers = [], paths = {}, rootUrl, servicePath = '', ...google } = JSON.parse(text) as Description;
  const bases = rootUrl === undefined ? servers.map(({ url }) => new URL(url)) : [new URL(rootUrl)];
  const described =
    rootUrl === undefined
      ? Object.entries(paths).flatMap(([path, item]) =>
          Object.keys(item).map((method) => [method, path] as const),
        )
      : methodsOf(google).flatMap(({ httpMethod, path, flatPath, mediaUpload }) => [
          [httpMethod, `/${servicePath}${flatPath ?? path}`] as const,
          ...Object.values(mediaUpload?.protocols ?? {}).map((upload) => [httpMethod, upload.path] as const),
        ]);
  const requests = bases.flatMap(({ host, pathname }) =>
    described.map(([method, path]) => requestOf(method, host, pathname.replace(/\/$/, '') + path)),
  );
  return { hosts: bases.map(({ host }) => host), requests: new Set(requests) };
}

function methodsOf({ methods = {}, resources = {} }: Methods): readonly GoogleMethod[] {
  return [...Object.values(methods), ...Object.values(resources).flatMap(methodsOf)];
}

/** Names of parameters differ between a description and our operations, so they are removed. */
function requestOf(method: string, host: string, path: string): string {
  return `${method.toUpperCase()} ${host}${path.replaceAll(/\{[^{}]*\}/g, '{}')}`;
}

/** Returns the operations at a host of the descriptions that none of these has. */
export function missingIn(
  apis: readonly Api[],
  operations: readonly Operation[],
  usualHost: string,
): readonly string[] {
  const hosts = new Set(apis.flatMap((api) => api.hosts));
  return operations
    .map(({ method, host = usualHost, path }) => ({ host, request: requestOf(method, host, path) }))
    .filter(({ host, request }) => hosts.has(host) && !apis.some(({ requests }) => requests.has(request)))
    .map(({ request }) => request);
}

if (import.meta.main) {
  const [name = '', ...files] = argv.slice(2);
  const definition = (await openCatalog()).get(name)?.definition;
  if (definition === undefined || files.length === 0) throw new Error('usage: operations.ts PROVIDER FILE…');
  const apis = files.map((file) => readApi(readFileSync(file, 'utf8')));
  const missing = missingIn(apis, definition.operations ?? [], definition.audience[0]?.text ?? '');
  for (const request of missing) console.error(`not described: ${request}`);
  process.exitCode = missing.length === 0 ? 0 : 1;
}
