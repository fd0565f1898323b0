/** What a signature says of a body: `x-amz-content-sha256`. https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html */
import { refused } from '../refused.ts';
import { emptyHash } from '../../sigv4/signature.ts';

/** How a body is signed. */
export type Payload =
  /** By its hash, which the client has written down, or not at all. */
  | { readonly kind: 'stated'; readonly value: string; readonly isAdded: boolean }
  /** By its hash, which nobody has written down: it has to be read first. */
  | { readonly kind: 'unread' }
  /** Each chunk of `aws-chunked` by itself, and the trailers where there are some. */
  | { readonly kind: 'chunks'; readonly value: string; readonly hasTrailers: boolean };

const unsigned = 'UNSIGNED-PAYLOAD';

/**
 * How the body of a request is signed.
 *
 * @param stated values of `x-amz-content-sha256`
 * @param hasBody whether a byte may come
 * @throws SidekeyError `policy_violation`: in a way that is not signed anew
 */
export function payloadOf(stated: readonly string[], service: string, hasBody: boolean): Payload {
  const [value, ...more] = stated;
  if (more.length > 0) throw refused('The request has x-amz-content-sha256 more than once.');
  if (value === undefined) return withoutWord(service, hasBody);
  switch (value) {
    case unsigned:
    // Its chunks are not signed: there is nothing in the body to sign anew.
    case 'STREAMING-UNSIGNED-PAYLOAD-TRAILER':
      return { kind: 'stated', value, isAdded: false };
    case 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD':
      return { kind: 'chunks', value, hasTrailers: false };
    case 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER':
      return { kind: 'chunks', value, hasTrailers: true };
    case 'STREAMING-AWS4-HMAC-SHA256-EVENTS':
      throw refused(
        'The request streams events that are signed one by one, which Sidekey does not sign anew.',
        'use the batch form of the call',
      );
    default:
      if (/^[0-9a-fA-F]{64}$/.test(value)) return { kind: 'stated', value, isAdded: false };
      throw refused('The request has a value of x-amz-content-sha256 that Sidekey cannot sign for.');
  }
}

/** S3 wants a word for every body; elsewhere it is the hash, and stands in no field. */
function withoutWord(service: string, hasBody: boolean): Payload {
  const isS3 = service.startsWith('s3');
  if (!hasBody) return { kind: 'stated', value: emptyHash, isAdded: isS3 };
  return isS3 ? { kind: 'stated', value: unsigned, isAdded: true } : { kind: 'unread' };
}
