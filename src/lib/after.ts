/**
 * Calls a function with a value, now where the value is at hand, else when its promise resolves. The stages of an exchange
 * use it: most of their values are in memory, and a promise for each would cost more than the stage.
 *
 * @param then gets the value and the arguments; no closure is needed for them
 */
export function after<Value, Rest extends readonly unknown[], Result>(
  value: Value | Promise<Value>,
  then: (value: Value, ...rest: Rest) => Result | Promise<Result>,
  ...rest: Rest
): Result | Promise<Result> {
  return value instanceof Promise ? value.then((resolved) => then(resolved, ...rest)) : then(value, ...rest);
}
