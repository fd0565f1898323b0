/** Asks a person for a secret, without echo. */
type AskSecret = (question: string) => Promise<string>;

let terminal: AskSecret | null = null;

/** Lets secrets be asked for on the terminal of this process. */
export function askOnTerminal(ask: AskSecret): void {
  terminal = ask;
}

/** Returns the prompt of this process; null: it has no terminal. */
export function askSecret(): AskSecret | null {
  return terminal;
}
