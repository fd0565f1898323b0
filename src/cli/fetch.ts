import { examples, type Register } from './command.ts';

/** `sidekey fetch`: one request, for who has no proxy setting. */
export const registerFetch: Register = (program, bind) => {
  examples(
    program
      .command('fetch')
      .description("one request with a grant's credential, as through the proxy")
      .argument(
        '<grant-or-url>',
        'the URL; or before it the grant that is meant, where a host offers several',
      )
      .argument('[url]', 'the URL, after a grant')
      .option('-X, --request <method>', 'the method (default: GET, or POST with a body)')
      .option('-H, --header <field>', "a header, 'Name: value'; may be given several times", collect)
      .option(
        '-d, --data <text>',
        'the body, as JSON unless a Content-Type is given; @FILE or @- as --data-file',
      )
      .option('--data-file <file>', 'the body, from a file, byte for byte (-: standard input)')
      .option('-L, --location', 'follow redirects, each decided anew')
      .option('-i, --include', 'the status line and the headers too')
      .option('-o, --output <file>', 'the body into a file')
      .option('--reason <text>', 'why, for the audit file and for a person who is asked')
      .option('--user <name>', 'with the grant of this user')
      .option('--max-time <seconds>', 'give up after so long (default: never)')
      .option('--agent <name>', 'as this agent, under a lease that ends with the command')
      .option('--proxy <url>', 'through this running proxy: http://NAME:TOKEN@127.0.0.1:8377')
      .action(bind(async () => (await import('./fetch/fetch.ts')).fetchUrl)),
    'sidekey fetch https://api.github.com/user',
    'sidekey fetch github-work https://api.github.com/user/repos -d \'{"name":"x"}\' --reason \'ticket 7\'',
    'sidekey fetch http://sidekey.internal/',
  );
};

function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}
