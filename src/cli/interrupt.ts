/**
 * Runs `run` at the first Ctrl-C, or where the system wants the process to end; a second one ends it whatever it does.
 * Answers what gives the signals back.
 */
export function onInterrupt(run: () => void): () => void {
  process.once('SIGINT', run).once('SIGTERM', run);
  return () => {
    process.off('SIGINT', run).off('SIGTERM', run);
  };
}
