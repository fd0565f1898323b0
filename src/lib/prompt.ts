/** Prompts a person for a secret, without echo. */
type AskSecret = (question: string) => Promise<string>;

let terminal: AskSecret | null = null;

/** Sets the prompt for secrets on the terminal of this process. */
export function askOnTerminal(ask: AskSecret): void {
  terminal = ask;
}

/** Returns the prompt of this process, or null without a terminal. */
export function askSecret(): AskSecret | null {
  return terminal;
}
