import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What the config of Sidekey says of one helpdesk. */
export interface Reached {
  readonly issuer: string;
  /** Absolute path of the certificate that signs its own. */
  readonly caFile: string;
}

/**
 * Makes a home for Sidekey whose config reaches this helpdesk, so that nobody has to edit a file. One that is
 * there stays.
 *
 * @returns its path, for `SIDEKEY_HOME`
 */
export function makeSidekeyHome(directory: string, { issuer, caFile }: Reached): string {
  const { hostname, port } = new URL(issuer);
  const home = join(directory, `sidekey-${port || '443'}`);
  const file = join(home, 'config', 'sidekey.yaml');
  if (existsSync(file)) return home;
  mkdirSync(join(home, 'config'), { recursive: true, mode: 0o700 });
  writeFileSync(
    file,
    `# Sidekey for the Acme Helpdesk at ${issuer} (docs/configuration.md)
version: 1
proxy: { listen: "127.0.0.1:0", unmatched: tunnel }
store: sqlite:../data/sidekey.db
key: { source: file, path: ../data/master.key }
ca: { directory: ../certs }
audit: { file: ../data/audit.jsonl }
upstream:
  ca: [${JSON.stringify(caFile)}]
  resolve: { ${hostname}: 127.0.0.1 }
  private_addresses: [127.0.0.1/32]
providers:
  acme:
    title: Acme Helpdesk
    authorization_endpoint: ${issuer}/authorize
    token_endpoint: ${issuer}/token
    revocation_endpoint: ${issuer}/revoke
    client_id: sidekey-public
    client_auth: none
    scopes: [openid, read:tickets, write:tickets]
    audience: ["${hostname}:${port || '443'}"]
    operations:
      - { method: GET, path: /tickets, words: list tickets, scopes: [read:tickets], example: assignee=me }
      - { method: GET, path: "/tickets/{id}", words: read a ticket, scopes: [read:tickets] }
      - method: POST
        path: /tickets
        words: open a ticket
        scopes: [write:tickets]
        example: '{"title":"Broken chair","team":"facilities"}'
      - method: PATCH
        path: /tickets/{id}
        words: change a ticket
        scopes: [write:tickets]
        example: '{"status":"solved"}'
domains: {}
`,
    { mode: 0o600 },
  );
  return home;
}
