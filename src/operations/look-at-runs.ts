import { findMechanisms } from '../clients/confine/confine.ts';
import type { Config } from '../config/config.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintText } from '../lib/hint.ts';
import { withoutStop } from '../lib/text.ts';
import { type Finding, finding } from './finding.ts';

/** Returns how this machine confines commands of `sidekey run`. None is no fault of the setup. */
export async function lookAtRuns(
  { run }: Pick<Config, 'run'>,
  env: NodeJS.ProcessEnv,
  platform?: NodeJS.Platform,
): Promise<Finding> {
  if (run.isolate === 'off') return finding('runs', 'not confined: run.isolate is off', { confined: false });
  try {
    const { bubblewrap, landlock } = await findMechanisms(env, platform);
    const facts = { confined: true, bubblewrap: bubblewrap !== null, landlock };
    if (bubblewrap === null) return finding('runs', `confined by Landlock alone: ${landlockAlone}`, facts);
    return finding(
      'runs',
      landlock ? 'confined by bubblewrap and Landlock' : 'confined by bubblewrap',
      facts,
    );
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    return finding('runs', unconfined(error), { confined: false });
  }
}

/** Says why a command runs unconfined. */
export function unconfined({ message, hint }: SidekeyError): string {
  return `not confined: ${withoutStop(message)} → ${hintText(hint)}`;
}

export const landlockAlone =
  'the package bubblewrap, where namespaces are permitted, does more (docs/run.md)';
