import { readFile } from 'node:fs/promises';
import { SidekeyError, systemCode } from '../../lib/errors.ts';
import type { Context } from '../context.ts';

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
  outcome: { summary: 'allow, deny, ok, failed or aborted', value: 'word' },
  lease: { summary: 'the lease of the request', value: 'id' },
  exchange: { summary: 'one request and its response', value: 'id' },
  code: { summary: 'the error code of a refusal' },
} as const;

export const verifyWords = {
  all: { summary: 'also fail if lines or logs that the store names are not here' },
  anchors: {
    summary: 'also compare with anchors that were kept elsewhere (-: standard input)',
    name: 'anchor',
    value: 'file',
    read: readAnchorText,
  },
} as const;

async function readAnchorText({ readInput }: Context, from: string): Promise<string> {
  if (from === '-') return readInput();
  try {
    return await readFile(from, 'utf8');
  } catch (cause) {
    throw new SidekeyError('input_invalid', `${from} cannot be read (${systemCode(cause)}).`, {
      hint: 'give the file that --write-anchor wrote, or - for standard input',
      cause,
    });
  }
}
