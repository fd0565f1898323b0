import { markup } from '../../markup.ts';
import { renderPage, type PageAnswer } from '../../page.ts';

export type { PageAnswer };

/** What a person reads in the browser when a consent has come back, or why nothing came of it. */
export interface FinishPage {
  readonly kind: 'done' | 'failed';
  readonly title: string;
  /** Sentences, a paragraph each. Any text: it is escaped. */
  readonly says: readonly string[];
}

/** The page as an answer; 200 where it went well, 400 where it did not, unless another status is named. */
export function pageAnswer(
  { kind, title, says }: FinishPage,
  status = kind === 'done' ? 200 : 400,
): PageAnswer {
  const body = markup`${says.map((sentence) => markup`<p>${sentence}</p>`)}`;
  return renderPage({ kind, from: 'Sidekey, on this computer', title, body }, status);
}
