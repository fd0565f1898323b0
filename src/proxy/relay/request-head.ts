import { SidekeyError } from '../../errors.ts';
import type { Injected } from '../../inject/inject.ts';
import { ownHead } from '../h1/head-writer.ts';

/**
 * The head of a request as it is sent, with the fields as they stand.
 *
 * @throws SidekeyError `bad_request` where it would not be one head of one request
 */
export function requestHead(method: string, { path, fields }: Injected): Buffer {
  // A space would end the target.
  if (path.startsWith('/') && !path.includes(' ')) {
    try {
      return ownHead(`${method} ${path} HTTP/1.1`, fields);
    } catch (cause) {
      throw cannotBeForwarded(cause);
    }
  }
  throw cannotBeForwarded();
}

function cannotBeForwarded(cause?: unknown): SidekeyError {
  return new SidekeyError('bad_request', 'The request has a field or a target that cannot be forwarded.', {
    cause,
  });
}
