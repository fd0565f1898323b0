import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { clientEnvironment } from './client-program.ts';
import { startSidekey, type TestSidekey } from './sidekey.ts';
import { tempFolder } from './temp-folder.ts';
import { startUpstream } from './upstream.ts';

/** The token that only Sidekey has. */
export const packageToken = 'token-of-the-packages-0123456789';

/** What a private registry answers: by method and path, without a query. */
export type Packages = (url: string) => Readonly<Record<string, Answer>>;

/** A body, or a status, for requests whose body is to be looked at. */
export type Answer = string | Buffer | ((body: Buffer) => number);

export interface PackageHouse {
  readonly url: string;
  readonly authority: string;
  readonly sidekey: TestSidekey;
  /** An empty folder of the client's. */
  readonly folder: string;
  /** What the client is told: the proxy and the certificates. */
  readonly env: Readonly<Record<string, string>>;
  /** Method and path of each request that the registry saw. */
  readonly seen: readonly string[];
  /** Fails where a request came without the credential, or the client's folder has it. */
  readonly onlySidekeyHadIt: () => Promise<void>;
}

/**
 * A private registry of packages that answers 401 to whoever comes without the token, and a proxy that has it.
 *
 * @param inject as a provider's definition has it
 * @param authorization what the registry wants
 */
export async function packageHouse(
  inject: unknown,
  authorization: string,
  packages: Packages,
): Promise<PackageHouse> {
  const seen: string[] = [];
  const wrong: string[] = [];
  let answers: Readonly<Record<string, Answer>> = {};
  const upstream = await startUpstream((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.once('end', () => {
      const what = `${request.method} ${request.url?.split('?', 1)[0]}`;
      seen.push(what);
      if (request.headers.authorization !== authorization) {
        wrong.push(what);
        response.writeHead(401, { 'www-authenticate': 'Basic realm="packages"' }).end();
        return;
      }
      const answer = answers[what];
      if (typeof answer === 'function') {
        response.writeHead(answer(Buffer.concat(chunks)), { 'content-type': 'application/json' }).end('{}');
      } else if (answer === undefined) response.writeHead(404).end();
      else {
        const type = what.endsWith('/') ? 'text/html' : 'application/json';
        response.writeHead(200, { 'content-type': type }).end(answer);
      }
    });
  });
  answers = packages(upstream.url);
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'packages' } },
    config: { providers: { packages: { audience: [upstream.authority], inject } } },
  });
  await sidekey.grant([upstream.authority], {
    name: 'packages',
    provider: 'packages',
    credential: { type: 'api_key', value: packageToken },
  });
  const folder = await tempFolder();
  return {
    url: upstream.url,
    authority: upstream.authority,
    sidekey,
    folder,
    env: clientEnvironment(sidekey),
    seen,
    async onlySidekeyHadIt() {
      expect(seen.length).toBeGreaterThan(0);
      expect(wrong).toEqual([]);
      for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile()) continue;
        const text = await readFile(join(entry.parentPath, entry.name), 'latin1');
        expect([entry.name, text.includes(packageToken)]).toEqual([entry.name, false]);
      }
    },
  };
}
