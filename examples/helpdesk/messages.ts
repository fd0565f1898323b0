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
  /** Options that the token command needs too. */
  readonly options: string;
}

/** What a person reads when the helpdesk is up: what runs, the config to change, the commands to go on with. */
export function startedMessage(started: Started): string {
  const { issuer, address, accessTokenTtl, caFile, options } = started;
  const { hostname, host, port } = new URL(issuer);
  const authority = port === '' ? `${hostname}:443` : host;
  return `Acme Helpdesk runs at ${issuer} (on ${address}).
  Access tokens live ${accessTokenTtl} seconds. People: alice, bob, carol @acme.test; password demo1234.
  Its CA certificate: ${caFile}. Ctrl-C ends it.

In the config file (npx sidekey config path) there are three lines under "upstream:". Put these in their place:

  ca: [${caFile}]
  resolve: { ${hostname}: 127.0.0.1 }
  private_addresses: [127.0.0.1/32]
${authority === builtInAuthority ? '' : ownProvider(started, authority)}
Then, in a second terminal (a Sidekey that runs already takes the change over by itself):

  npm start

And in a third one, without a browser. Press Enter at the question about access; the second command prints the address to
paste into the first:

  npx sidekey connect acme --paste
  npm run -s helpdesk -- consent alice${options} 'ADDRESS'

With a browser it is npx sidekey connect acme alone, once the line "127.0.0.1 ${hostname}" is in the file /etc/hosts
and you have accepted the certificate warning in the browser. Then:

  npx sidekey run -- curl '${issuer}/tickets?assignee=me'

Without Sidekey it answers 401:

  curl --resolve ${authority}:127.0.0.1 --cacert ${caFile} ${issuer}/tickets

`;
}

/** Where `config/providers/acme.yaml` says that the helpdesk is. */
const builtInAuthority = 'helpdesk.acme.test:8443';

function ownProvider({ issuer }: Started, authority: string): string {
  return `
The built-in provider acme is for ${builtInAuthority}. Add one for this port, at the end of the same file:

providers:
  acme:
    authorization_endpoint: ${issuer}/authorize
    token_endpoint: ${issuer}/token
    client_id: sidekey-public
    scopes: [openid, read:tickets, write:tickets]
    audience: [${authority}]
`;
}
