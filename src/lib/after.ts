type Next<Value, Rest extends readonly unknown[], Result> = (
  value: Value,
  ...rest: Rest
) => Result | Promise<Result>;

/**
 * Calls a function with a value: immediately, or when the promise of the value resolves. Most values of an
 * exchange are in memory, and a promise for each would cost more than the stage that needs it.
 *
 * @param then gets the value and up to five arguments, so that it needs no closure
 */
export const after = callAfter as <Value, Rest extends readonly unknown[], Result>(
  value: Value | Promise<Value>,
  then: Next<Value, Rest, Result>,
  ...rest: Rest
) => Result | Promise<Result>;

/** Without a rest parameter: V8 would allocate an array for it unless it inlines the function. */
function callAfter(
  value: unknown,
  then: Next<unknown, unknown[], unknown>,
  a?: unknown,
  b?: unknown,
  c?: unknown,
  d?: unknown,
  e?: unknown,
): unknown {
  return value instanceof Promise ? callLater(value, then, [a, b, c, d, e]) : then(value, a, b, c, d, e);
}

async function callLater(
  value: Promise<unknown>,
  then: Next<unknown, unknown[], unknown>,
  rest: unknown[],
): Promise<unknown> {
  return then(await value, ...rest);
}
