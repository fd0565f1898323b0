/** A `fetch` with connections of its own. */
export interface OwnFetch {
  readonly fetch: typeof fetch;
  /** Lets what is under way end, and closes the connections. */
  close(): Promise<void>;
}

/** A `fetch` that is opened when it is first asked for; never, where it is closed before. */
export function lateFetch(open: () => Promise<OwnFetch>): OwnFetch {
  let opened: Promise<OwnFetch> | undefined;
  let isClosed = false;
  return {
    async fetch(input, init) {
      if (isClosed && opened === undefined) throw new TypeError('The way out is closed.');
      opened ??= open();
      return (await opened).fetch(input, init);
    },
    async close() {
      isClosed = true;
      await (await opened)?.close();
    },
  };
}
