/** Whether a client has left before its response was complete, and who is to be told. */
export interface Gone {
  readonly already: boolean;
  /** Told once, when it happens. */
  listen(listener: () => void): void;
  forget(listener: () => void): void;
}
