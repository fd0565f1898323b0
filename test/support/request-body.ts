import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';

/**
 * Resolves with the body of a request to a server of a test. If the client leaves before the end of the body,
 * the promise stays pending. A rejection may come after the end of the test, when its server closes, and
 * would be an unhandled error of the whole run.
 */
export function requestBody(request: Readable): Promise<string> {
  return new Promise((resolve) => {
    text(request).then(resolve, () => {});
  });
}
