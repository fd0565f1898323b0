/** The exchanges of each connection, one after the other. */
export interface Pipeline {
  /** Runs `work` when what the connection asked for before has ended. `work` never rejects. */
  run(connection: object, work: () => Promise<void>): Promise<void>;
  /** Whether something of this connection is under way. */
  isBusy(connection: object): boolean;
  /** How much of this connection is under way or waits. */
  depth(connection: object): number;
}

/**
 * Pipelined requests may depend on each other, and one that is not safe must not overtake another
 * (RFC 9112 §9.3.2).
 */
export function createPipeline(): Pipeline {
  // No entry outlives its work, so nothing is held that a WeakMap would let go.
  const lines = new Map<object, { tail: Promise<void>; depth: number }>();
  return {
    async run(connection, work) {
      const before = lines.get(connection);
      const line = before ?? { tail: Promise.resolve(), depth: 0 };
      line.depth += 1;
      lines.set(connection, line);
      line.tail = before === undefined ? work() : before.tail.then(work);
      try {
        await line.tail;
      } finally {
        line.depth -= 1;
        if (line.depth === 0) lines.delete(connection);
      }
    },
    isBusy: (connection) => lines.has(connection),
    depth: (connection) => lines.get(connection)?.depth ?? 0,
  };
}
