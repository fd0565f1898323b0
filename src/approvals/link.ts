/** Links that answer a question: whoever has one may, so none is in a log, an error or an audit line. */
import { timingSafeEqual } from 'node:crypto';
import type { Vault } from '../vault/vault.ts';
import type { Question } from './approval.ts';

/** What a link is for: an id may come again after some days, and then with another end. */
export type Linked = Pick<Question, 'id' | 'expiresAt'>;

/** Makes links, and recognizes them. */
export interface ApprovalLinks {
  /** `/approve/ID/SIGNATURE`. */
  pathFor(question: Linked): string;
  /** What the link is for; null: it was not made here. Takes the same time wherever a signature differs. */
  verify(link: LinkParts): Linked | null;
}

/** A path that has the form of a link. */
export interface LinkParts {
  readonly id: string;
  /** When the question ends (6 bytes), and an HMAC over that and the id (32 bytes), in base64url. */
  readonly signature: string;
}

const linkPath = /^\/approve\/([0-9a-z]{8})\/([A-Za-z0-9_-]{51})$/;
/** The end of the question, in characters of base64url. */
const endLength = 8;

/**
 * Signatures are made by the vault, so every process with the key knows them, and nothing has to be looked up to tell a
 * wrong one. They have 256 bits, so nobody need count how often one was wrong.
 */
export function createApprovalLinks(vault: Pick<Vault, 'mac'>): ApprovalLinks {
  const signatureOf = ({ id, expiresAt }: Linked) => {
    const end = Buffer.alloc(6);
    end.writeUIntBE(expiresAt, 0, 6);
    return (
      end.toString('base64url') +
      Buffer.from(vault.mac('approval-link', `${id} ${expiresAt}`), 'hex').toString('base64url')
    );
  };
  return {
    pathFor: (question) => `/approve/${question.id}/${signatureOf(question)}`,
    verify({ id, signature }) {
      const expiresAt = Buffer.from(signature.slice(0, endLength), 'base64url').readUIntBE(0, 6);
      // As text: several texts of base64url stand for the same bytes.
      const [given, right] = [Buffer.from(signature), Buffer.from(signatureOf({ id, expiresAt }))];
      return given.length === right.length && timingSafeEqual(given, right) ? { id, expiresAt } : null;
    },
  };
}

/** The parts of a link; null: the path is none. */
export function parseLinkPath(path: string): LinkParts | null {
  const [, id, signature] = linkPath.exec(path) ?? [];
  return id === undefined || signature === undefined ? null : { id, signature };
}
