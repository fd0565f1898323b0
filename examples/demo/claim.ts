/** Something that the demo says did not happen. The message is one sentence for the person who watches. */
export class DemoFailure extends Error {
  override readonly name = 'DemoFailure';
}

/** Says that something is so; throws a `DemoFailure` with the sentence where it is not. */
export function claim(holds: boolean, sentence: string): asserts holds {
  if (!holds) throw new DemoFailure(sentence);
}
