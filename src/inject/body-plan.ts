/** How the body of a request is framed (RFC 9112 §6). */
export type BodyPlan =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly bytes: number }
  | { readonly kind: 'chunked' };
