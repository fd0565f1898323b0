/** What `--help` says. */
export const usage = `Acme Helpdesk, a sample company API with its own OAuth server

  npm run helpdesk                              starts it on https://helpdesk.acme.test:8443
  npm run -s helpdesk -- consent USER ADDRESS   logs in and agrees as alice, bob or carol; prints where the browser ends
  npm run -s helpdesk -- token USER > FILE      prints a token of one of them, for sidekey grant import

Options
  --port N        port on 127.0.0.1 (8443)
  --data DIR      where the CA, the keys and the database are kept (data/helpdesk)
  --ttl SECONDS   lifetime of access tokens (300)
  --scope SCOPES  scopes of the token (openid read:tickets write:tickets)
`;

/** What the start message needs to know. */
export interface Started {
  readonly issuer: string;
  /** Where it listens. */
  readonly address: string;
  readonly accessTokenTtl: number;
  /** Absolute path of the CA certificate. */
  readonly caFile: string;
  /** Folder for `SIDEKEY_HOME`, whose config knows this helpdesk. */
  readonly sidekeyHome: string;
  /** Options that the token command needs too. */
  readonly options: string;
}

/** What a person reads when the helpdesk is up: what runs, and the commands to go on with. */
export function startedMessage(started: Started): string {
  const { issuer, address, accessTokenTtl, caFile, sidekeyHome, options } = started;
  const { hostname, port } = new URL(issuer);
  return `Acme Helpdesk runs at ${issuer} (on ${address}).
  Access tokens live ${accessTokenTtl} seconds. People: alice, bob, carol @acme.test; password demo1234.
  Its CA certificate: ${caFile}. Ctrl-C ends it.

In a second terminal, with a Sidekey of its own (its config knows the helpdesk; yours is not changed):

  export SIDEKEY_HOME=${shellWord(sidekeyHome)}
  npx sidekey connect acme --finish "$(npm run -s helpdesk -- consent alice${options} "$(npx sidekey connect acme --print-url)")"
  npx sidekey run -- curl '${issuer}/tickets?assignee=me'

The second command consents as alice, as a person would in a browser. To use a browser: npx sidekey connect acme, once the
line "127.0.0.1 ${hostname}" is in the file /etc/hosts; the browser warns of the certificate, which you have to accept.

Without Sidekey it answers 401:

  curl --resolve ${hostname}:${port || '443'}:127.0.0.1 --cacert ${shellWord(caFile)} ${issuer}/tickets

`;
}

function shellWord(text: string): string {
  return /^[\w/.:-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
