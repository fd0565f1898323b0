/** The part of oidc-provider that the helpdesk and tests use: the package comes without types. */
declare module 'oidc-provider/lib/provider.js' {
  import type { IncomingMessage, ServerResponse } from 'node:http';

  /** What the token models carry, as far as anybody here reads it. */
  interface StoredToken {
    readonly accountId?: string;
    readonly clientId?: string;
    readonly grantId?: string;
    readonly scope?: string;
    readonly scopes: ReadonlySet<string>;
    readonly consumed?: number;
  }

  interface TokenModel {
    new (fields: Readonly<Record<string, unknown>>): { save(): Promise<string> };
    find(value: string): Promise<StoredToken | undefined>;
  }

  interface Grant {
    addOIDCScope(scope: string): void;
    addResourceScope(resource: string, scope: string): void;
    save(): Promise<string>;
  }

  interface Interaction {
    readonly uid: string;
    readonly prompt: { readonly name: string };
    readonly params: Readonly<Record<string, string | undefined>>;
    readonly session?: { readonly accountId: string };
  }

  interface InteractionResult {
    login?: { accountId: string; remember?: boolean };
    consent?: { grantId: string };
    error?: string;
    error_description?: string;
  }

  export class Provider {
    constructor(issuer: string, configuration: Readonly<Record<string, unknown>>);
    readonly AccessToken: TokenModel;
    readonly RefreshToken: TokenModel;
    readonly ClientCredentials: { find(value: string): Promise<StoredToken | undefined> };
    readonly Client: {
      find(id: string): Promise<{ readonly clientName?: string } | undefined>;
      readonly adapter: { destroy(id: string): Promise<void> };
    };
    readonly Grant: {
      new (input: { accountId: string; clientId: string }): Grant;
      find(id: string): Promise<Grant | undefined>;
    };
    callback(): (request: IncomingMessage, response: ServerResponse) => Promise<void>;
    interactionDetails(request: IncomingMessage, response: ServerResponse): Promise<Interaction>;
    interactionFinished(
      request: IncomingMessage,
      response: ServerResponse,
      result: InteractionResult,
      options?: { mergeWithLastSubmission?: boolean },
    ): Promise<void>;
    on(event: 'server_error', listener: (context: unknown, error: unknown) => void): this;
    on(event: 'error', listener: (error: unknown) => void): this;
  }
}

declare module 'oidc-provider/lib/helpers/errors.js' {
  export class InvalidGrant extends Error {
    constructor(detail: string);
  }
  export class InvalidRequest extends Error {
    constructor(description: string);
  }
  export class SessionNotFound extends Error {}
}
