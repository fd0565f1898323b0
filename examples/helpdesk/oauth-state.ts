import { InvalidGrant } from 'oidc-provider/lib/helpers/errors.js';
import type { SqliteDatabase } from './database.ts';

/** What oidc-provider asks of a place to keep one kind of thing (its "adapter"). */
export interface StateAdapter {
  upsert(id: string, payload: Record<string, unknown>, expiresIn?: number): Promise<void>;
  find(id: string): Promise<Record<string, unknown> | undefined>;
  findByUid(uid: string): Promise<Record<string, unknown> | undefined>;
  findByUserCode(code: string): Promise<undefined>;
  consume(id: string): Promise<void>;
  destroy(id: string): Promise<void>;
  revokeByGrantId(grantId: string): Promise<void>;
}

/** Everything the OAuth server remembers: sessions, grants, codes and tokens. */
export interface OAuthState {
  /** Made once for each kind. */
  readonly adapter: (kind: string) => StateAdapter;
  /** Lets every access token end now, refresh tokens untouched. Returns how many there were. */
  expireAccessTokens(): number;
  /** Forgets every access token, though its time is not up. Returns how many there were. */
  revokeAccessTokens(): number;
}

const schema = `
  CREATE TABLE IF NOT EXISTS oauth_state (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    payload TEXT NOT NULL,
    grant_id TEXT,
    uid TEXT,
    expires_at INTEGER,
    PRIMARY KEY (kind, id)
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS oauth_state_by_grant ON oauth_state (grant_id);
  CREATE INDEX IF NOT EXISTS oauth_state_by_uid ON oauth_state (uid);
`;

const accessTokenKinds = `kind IN ('AccessToken', 'ClientCredentials')`;
const writesBetweenSweeps = 500;

const epochSeconds = (): number => Math.floor(Date.now() / 1000);

/** Keeps the OAuth server's state in SQLite, so that its size is bounded by what has not ended yet. */
export function openOAuthState(database: SqliteDatabase): OAuthState {
  database.exec(schema);
  const statement = {
    upsert: database.prepare(`INSERT OR REPLACE INTO oauth_state VALUES (?, ?, ?, ?, ?, ?)`),
    find: database.prepare(`SELECT payload FROM oauth_state WHERE kind = ? AND id = ?`),
    findByUid: database.prepare(`SELECT payload FROM oauth_state WHERE kind = ? AND uid = ?`),
    consume: database.prepare(
      `UPDATE oauth_state SET payload = json_set(payload, '$.consumed', ?)
       WHERE kind = ? AND id = ? AND json_extract(payload, '$.consumed') IS NULL`,
    ),
    destroy: database.prepare(`DELETE FROM oauth_state WHERE kind = ? AND id = ?`),
    grantOf: database.prepare(`SELECT grant_id FROM oauth_state WHERE kind = ? AND id = ?`),
    destroyOfGrant: database.prepare(`DELETE FROM oauth_state WHERE kind = ? AND grant_id = ?`),
    destroyWholeGrant: database.prepare(
      `DELETE FROM oauth_state WHERE grant_id = :grant OR (kind = 'Grant' AND id = :grant)`,
    ),
    sweep: database.prepare(`DELETE FROM oauth_state WHERE expires_at < ?`),
    expire: database.prepare(
      `UPDATE oauth_state SET payload = json_set(payload, '$.exp', ?) WHERE ${accessTokenKinds}`,
    ),
    revoke: database.prepare(`DELETE FROM oauth_state WHERE ${accessTokenKinds}`),
  };
  let writes = 0;

  const adapter = (kind: string): StateAdapter => ({
    async upsert(id, payload, expiresIn) {
      const expiresAt = expiresIn === undefined ? null : epochSeconds() + expiresIn;
      const [grantId, uid] = [textOf(payload['grantId']), textOf(payload['uid'])];
      statement.upsert.run(kind, id, JSON.stringify(payload), grantId, uid, expiresAt);
      writes += 1;
      if (writes % writesBetweenSweeps === 0) statement.sweep.run(epochSeconds());
    },
    async find(id) {
      return parse(statement.find.get(kind, id)?.['payload']);
    },
    async findByUid(uid) {
      return parse(statement.findByUid.get(kind, uid)?.['payload']);
    },
    async findByUserCode() {
      return undefined; // the device flow is off
    },
    async consume(id) {
      if (statement.consume.run(epochSeconds(), kind, id).changes === 1) return;
      // Two requests read the same code or refresh token before either used it up. The provider has let both
      // pass; one use is what is promised, so the second ends the grant (RFC 9700 §4.14.2).
      const grant = statement.grantOf.get(kind, id)?.['grant_id'];
      if (typeof grant === 'string') statement.destroyWholeGrant.run({ grant });
      throw new InvalidGrant(`${kind} was used twice`);
    },
    async destroy(id) {
      statement.destroy.run(kind, id);
    },
    async revokeByGrantId(grantId) {
      statement.destroyOfGrant.run(kind, grantId);
    },
  });

  return {
    adapter,
    expireAccessTokens: () => Number(statement.expire.run(epochSeconds()).changes),
    revokeAccessTokens: () => Number(statement.revoke.run().changes),
  };
}

function parse(payload: unknown): Record<string, unknown> | undefined {
  return typeof payload === 'string' ? (JSON.parse(payload) as Record<string, unknown>) : undefined;
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
