/** The exchanges of each connection, one after the other. */
export interface Pipeline {
  /** Runs `work` when what the connection asked for before has ended. `work` never rejects. */
  run(connection: object, work: () => Promise<void>): Promise<void>;
  /** Whether something of this connection is under way. */
  isBusy(connection: object): boolean;
}

/**
 * Pipelined requests may depend on each other, and one that is not safe must not overtake another
 * (RFC 9112 §9.3.2).
 */
export function createPipeline(): Pipeline {
  // No entry outlives its work, so nothing is held that a WeakMap would let go.
  const tails = new Map<object, Promise<void>>();
  return {
    async run(connection, work) {
      const before = tails.get(connection);
      const tail = before === undefined ? work() : before.then(work);
      tails.set(connection, tail);
      try {
        await tail;
      } finally {
        if (tails.get(connection) === tail) tails.delete(connection);
      }
    },
    isBusy: (connection) => tails.has(connection),
  };
}
