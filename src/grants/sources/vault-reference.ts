/** A secret on a server of `vaults`. */
export interface VaultReference {
  /** Name of the server; null: the only one of the config. */
  readonly server: string | null;
  /** Path below `/v1/`, encoded, with its query. */
  readonly path: string;
  /** Member of the secret; null: all members are one credential. */
  readonly member: string | null;
}

/** Parses the rest of `vault:PATH[#MEMBER]` or `vault://SERVER/PATH[#MEMBER]`. Null: not a reference. */
export function parseVaultReference(rest: string): VaultReference | null {
  const [, server = null, path = '', query = '', member = null] =
    /^(?:\/\/([A-Za-z0-9][\w.-]*)\/)?([^?#/][^?#]*)(\?[\w=&.%-]+)?(?:#([^#]+))?$/.exec(rest) ?? [];
  const segments = path.toWellFormed().split('/');
  // URL parsers remove `.` and `..`.
  const isPlain = segments.every((each) => !/^\.{0,2}$/.test(each));
  if (!isPlain || /\p{Cc}/u.test(rest)) return null;
  return { server, path: segments.map(encodeURIComponent).join('/') + query, member };
}
