import type { Context } from '../context.ts';
import { atCommandLine } from '../who.ts';
import { say, type Said } from './said.ts';
import { questionJson } from './words.ts';

/** `sidekey approve ID`. @throws as `say` */
export async function answerOne(
  { withState, output, env, now }: Context,
  id: string,
  said: Said,
): Promise<void> {
  const by = `${atCommandLine(env).by} at the command line`;
  const { approval, sentence } = await withState((state) => say(state, { id, said, by, at: now() }));
  output.result(questionJson(approval, now()), sentence);
}
