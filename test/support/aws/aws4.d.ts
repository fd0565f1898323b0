/** The functions of aws4 that tests use: a signer that shares no code with Sidekey. */
declare module 'aws4' {
  export class RequestSigner {
    constructor(request: Readonly<Record<string, unknown>>, credentials: object);
    datetime: string;
    canonicalString(): string;
    signature(): string;
    sign(): { readonly headers: object };
  }
}
