type Next<Value, Rest extends readonly unknown[], Result> = (
  value: Value,
  ...rest: Rest
) => Result | Promise<Result>;

/**
 * Calls a function with a value, now where the value is at hand, else when its promise resolves. The stages of an exchange
 * use it: most of their values are in memory, and a promise for each would cost more than the stage.
 *
 * @param then gets the value and up to five arguments, so that it needs no closure
 */
export const after = callAfter as <Value, Rest extends readonly unknown[], Result>(
  value: Value | Promise<Value>,
  then: Next<Value, Rest, Result>,
  ...rest: Rest
) => Result | Promise<Result>;

/** Has its arguments one by one: V8 allocates an array for the rest parameter of a function that it does not inline. */
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
