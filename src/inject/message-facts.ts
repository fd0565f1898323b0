/** What of a request a way may have to know besides its path and its fields. */
export interface MessageFacts {
  readonly method: string;
  /** Whether a byte may come after the head. */
  readonly hasBody: boolean;
  /** SHA-256 of the body in hex, where `bodyNeed` asks for it; else null. */
  readonly bodyHash: string | null;
  /** All of the body, where `bodyNeed` asks for it; else null. */
  readonly body: Buffer | null;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Bytes of a chunk that are held, so that its signature can stand before it. */
  readonly chunkBytes: number;
  /** What the server wants to see in a proof (RFC 9449 §9); absent or null: nothing. */
  readonly nonce?: string | null;
}
