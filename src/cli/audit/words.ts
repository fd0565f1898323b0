import type { Context } from '../context.ts';
import { readGivenFile } from '../terminal.ts';

/** Words for the options of the audit log. */

export const conditionWords = {
  since: { summary: 'at or after this time: 2h, 7d, 2026-11-21, 2026-11-21T06:00Z', value: 'time' },
  until: { summary: 'before this time', value: 'time' },
  event: { summary: "an event, or several with a star: 'grant.*'", value: 'name' },
  agent: { summary: 'the agent that made the request', value: 'name' },
  grant: { summary: 'name or ID of the grant' },
  user: { summary: 'the owner of the grant', value: 'name' },
  by: { summary: 'the person who made a change', value: 'name' },
  provider: { summary: 'the provider of the grant', value: 'name' },
  host: { summary: 'the host of the request' },
  port: { summary: 'the port of the request', value: 'port' },
  outcome: { summary: 'allow, deny, ok, failed or aborted', value: 'word' },
  lease: { summary: 'the lease of the request', value: 'id' },
  exchange: { summary: 'one request and its response', value: 'id' },
  code: { summary: 'the error code of a refusal' },
} as const;

const anchorHint = 'give the file that --write-anchor wrote, or - for standard input';

export const verifyWords = {
  all: { summary: 'also fail if lines or logs that the store names are not here' },
  anchors: {
    summary: 'also compare with anchors that were kept elsewhere (-: standard input)',
    name: 'anchor',
    value: 'file',
    read: async (context: Context, file: string) =>
      (await readGivenFile(context, file, anchorHint)).toString('utf8'),
  },
} as const;
