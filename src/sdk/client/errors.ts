import { codes } from './operations.ts';

/** Errors of the client: a class for each code. */

interface Failure {
  readonly code: string;
  readonly status?: number;
  readonly hint?: string | undefined;
  readonly retryAfter?: number | null;
}

/** A failure with a hint. */
export class SidekeyError<Code extends string = string> extends Error {
  /** Stable code; docs/errors.md lists those of the service. */
  readonly code: Code;
  /** HTTP status of the response; 0: none. */
  readonly status: number;
  readonly hint: string | undefined;
  /** Seconds after which a retry may succeed. */
  readonly retryAfter: number | null;

  constructor(
    message: string,
    { code, status = 0, hint, retryAfter = null }: Failure,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = Object.hasOwn(classes, nameOf(code)) ? nameOf(code) : 'SidekeyError';
    this.code = code as Code;
    this.status = status;
    this.hint = hint;
    this.retryAfter = retryAfter;
  }
}

type Pascal<Text extends string> = Text extends `${infer Head}_${infer Tail}`
  ? `${Capitalize<Head>}${Pascal<Tail>}`
  : Capitalize<Text>;

/** Codes of the service and of the client. */
export type ErrorCode = (typeof codes)[number];

function nameOf(code: string): string {
  return `${code.replace(/(?:^|_)(.)/g, (_all, letter: string) => letter.toUpperCase())}Error`;
}

type Parts = ConstructorParameters<typeof SidekeyError>;
type ErrorClass<Code extends string = string> = new (...parts: Parts) => SidekeyError<Code>;

const classes: Readonly<Record<string, ErrorClass>> = Object.fromEntries(
  codes.map((code) => [nameOf(code), class extends SidekeyError {}]),
);

/** The class of each code: `error instanceof errors.DomainNotAllowedError`. */
export const errors = classes as unknown as {
  readonly [Code in ErrorCode as `${Pascal<Code>}Error`]: ErrorClass<Code>;
};

/** Returns the error of a code, in its class; of an unknown code, a `SidekeyError`. */
export function errorOf(...[message, failure, options]: Parts): SidekeyError {
  return new (classes[nameOf(failure.code)] ?? SidekeyError)(message, failure, options);
}

export function unexpectedAnswer({ status, url }: Response, options?: ErrorOptions): SidekeyError {
  const hint = 'see that the base URL is that of Sidekey: admin.url';
  return errorOf(
    `The response of ${url} is not from Sidekey.`,
    { code: 'unexpected_answer', status, hint },
    options,
  );
}
