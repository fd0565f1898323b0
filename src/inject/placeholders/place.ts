import type { Credential } from '../../grants/credential.ts';
import type { Replacement } from '../../placeholder/replacer.ts';
import { conceal } from '../conceal.ts';
import type { Injected } from '../inject.ts';
import { placeInBody } from './body.ts';
import { placeInHead } from './head.ts';
import { hasValue, valueOf, type Shown } from './shown.ts';

/**
 * A request with the credential in the place of its placeholders, besides where its own way put it.
 *
 * @throws SidekeyError `placeholder_misused`; see `placeInHead` and `placeInBody`
 */
export function placed(request: Injected, shown: Shown, credential: Credential): Injected {
  const value = () => valueOf(credential);
  const head = placeInHead(request, shown, value);
  const inTarget = head.path !== request.path;
  const hasMessages = shown.places.includes('websocket') && hasValue(credential);
  const { conceal: before = (fields) => fields } = request;
  const carrying: Injected = {
    ...request,
    ...head,
    carriedIn: new Set([...(request.carriedIn ?? []), ...head.carriedIn]),
    messages: hasMessages ? () => messagesWith(shown, value()) : undefined,
    conceal: inTarget
      ? (fields) =>
          conceal(before(fields), request.secrets ?? { texts: [value()] }, ownIn(request.path, shown))
      : request.conceal,
  };
  return shown.body === null ? carrying : placeInBody(carrying, shown, shown.body, value());
}

/** The placeholder of a target: with it an address of the response can be asked for. */
function ownIn(target: string, { texts }: Shown): string | undefined {
  return texts().find((text) => target.includes(text));
}

/** Messages are JSON nearly always; what needs no escape is the same in any text. */
function messagesWith({ texts }: Shown, value: string): Replacement {
  return {
    texts: texts().map((text) => Buffer.from(text)),
    value: Buffer.from(JSON.stringify(value).slice(1, -1)),
  };
}
