/** What the tests ask of it: a signer that shares no code with ours. */
declare module 'aws4' {
  export class RequestSigner {
    constructor(request: Readonly<Record<string, unknown>>, credentials: object);
    datetime: string;
    canonicalString(): string;
    signature(): string;
  }
}
