import { examples, type Register } from './command.ts';

/** `sidekey explain`: what would happen to a request, and why. */
export const registerExplain: Register = (program, bind) => {
  examples(
    program
      .command('explain')
      .description('what would happen to a request, step by step; nothing is sent')
      .argument('<method-or-url>', 'the method, or the URL itself where it is GET, or POST with a body')
      .argument('[url]', 'the URL, after a method')
      .option('--agent <name>', 'as this agent; with selectors: NAME+grant=GRANT+user=USER')
      .option('--lease <lease>', 'under this lease: its id, or how that begins')
      .option('--user <name>', 'with the grant of this user (selector +user)')
      .option('--grant <grant>', 'with this one of the grants that the domain offers (selector +grant)')
      .option('--header <field>', "a header, 'Name: value'; may be given several times", collect)
      .option('--data <text>', 'the body, as JSON unless a Content-Type is given')
      .option('--data-file <file>', 'the body, from a file (-: standard input)')
      .option('--client <address>', 'from this address (default: this machine)')
      .option('--at <time>', 'at this time: 2026-11-21T09:00Z, or how long ago: 2h')
      .action(bind(async () => (await import('./explain/explain.ts')).explain)),
    'sidekey explain https://api.github.com/user',
    'sidekey explain DELETE https://api.github.com/repos/o/r --agent ci-bot',
    "sidekey explain https://mcp.example.com/ --lease 7b1d2d5c --data-file call.json --header 'Sidekey-Reason: ticket 7'",
  );
};

function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}
