import { expect } from 'vitest';
import type { Secret } from './secret.ts';
import { stage, type SingleStage } from './stage.ts';

/** Responses of a private registry, by method and path without the query. */
export type Packages = (url: string) => Readonly<Record<string, Answer>>;

/** A body, or a status, for requests whose body is to be looked at. */
export type Answer = string | Buffer | ((body: Buffer) => number);

export interface PackageProxy extends SingleStage {
  /** Fails where no request came, or one without the credential. */
  readonly onlyWithCredential: () => void;
}

/**
 * A private registry of packages that answers 401 to whoever comes without the token, and a Sidekey that has
 * it.
 *
 * @param inject as a provider's definition has it
 * @param authorization what the registry wants
 */
export async function startPackageProxy(
  inject: unknown,
  authorization: (secret: Secret) => string,
  packages: Packages,
): Promise<PackageProxy> {
  let answers: Readonly<Record<string, Answer>> = {};
  const staged = await stage(
    (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.once('end', () => {
        const what = `${request.method} ${request.url?.split('?', 1)[0]}`;
        const answer = answers[what];
        if (typeof answer === 'function') {
          response.writeHead(answer(Buffer.concat(chunks)), { 'content-type': 'application/json' }).end('{}');
        } else if (answer === undefined) response.writeHead(404).end();
        else {
          const type = what.endsWith('/') ? 'text/html' : 'application/json';
          response.writeHead(200, { 'content-type': type }).end(answer);
        }
      });
    },
    {
      provider: 'packages',
      inject,
      carried: (secret) => ({ authorization: authorization(secret) }),
    },
  );
  answers = packages(staged.upstream.url);
  return {
    ...staged,
    onlyWithCredential() {
      const came = new Set(staged.seen.map(({ headers }) => headers.authorization));
      expect([...came]).toEqual([authorization(staged.secret)]);
    },
  };
}
