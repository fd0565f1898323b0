import { SidekeyError } from '../../errors.ts';

/** One header of the command line, `Name: value`. Not repeated where it is none: it may hold a secret. */
export function readHeaderField(text: string): readonly [name: string, value: string] {
  const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/s.exec(text) ?? [];
  if (name === undefined || value === undefined || /\p{Cc}/u.test(value)) {
    throw refused('A --header is none.', `--header 'Accept: text/html'`);
  }
  const lower = name.toLowerCase();
  const instead = ofOurs[lower];
  if (instead !== undefined) throw refused(`${name} is not given as a header.`, instead);
  // What stands in a head is bytes; text is sent as UTF-8.
  return [name, Buffer.from(value, 'utf8').toString('latin1')];
}

/** What says who asks, where, and how the message is framed is ours to write. */
const ofOurs: Readonly<Record<string, string>> = {
  'proxy-authorization': 'say who asks by --agent NAME, or in the user information of --proxy',
  'sidekey-grant': 'sidekey fetch GRANT URL',
  'sidekey-reason': '--reason TEXT',
  host: 'the URL says the host',
  'content-length': 'it follows from the body',
  'transfer-encoding': 'it follows from the body',
  connection: 'leave it out',
  expect: 'leave it out',
  upgrade: 'leave it out; use a client for that behind the proxy',
};

function refused(sentence: string, hint: string): SidekeyError {
  return new SidekeyError('input_invalid', sentence, { hint });
}
