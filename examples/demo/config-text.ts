import type { Helpdesk } from '../helpdesk/helpdesk.ts';

/** A host that the domain map gives the grant, and that the audience of the grant does not have. */
export function mirrorOf(issuer: string): string {
  const { port } = new URL(issuer);
  return `https://mirror.acme.test:${port}`;
}

/**
 * The demo's config file: what the embedded defaults do not say. Store, key, CA and audit are where they are
 * by default, in `../data` and `../certs`.
 */
export function configText({ listen, helpdesk }: { listen: string; helpdesk: Helpdesk }): string {
  const { issuer, host, clientId } = helpdesk;
  const { hostname, host: authority } = new URL(issuer);
  return `version: 1
proxy:
  listen: ${listen}

# A company's own service, on this machine: its CA, its address, and that this address may be dialed.
upstream:
  ca: [acme-root.pem]
  resolve: { ${hostname}: ${host} }
  private_addresses: [${host}/32]

domains:
  ${authority}: { grant: acme }
  ${new URL(mirrorOf(issuer)).host}: { grant: acme } # not in the audience: it gets no credential

providers:
  acme:
    title: Acme Helpdesk
    issuer: ${issuer}
    authorization_endpoint: ${issuer}/authorize
    token_endpoint: ${issuer}/token
    revocation_endpoint: ${issuer}/revoke
    client_id: ${clientId}
    client_secret: file:acme-client.secret
    scopes: [openid, read:tickets, write:tickets]
    audience: [${authority}]
`;
}
