import type { ServiceParts } from '../api/parts.ts';
import type { Service } from '../api/service.ts';

/** The API, which is loaded at its first request, so that a start is faster. */
export class ApiService {
  readonly #parts: () => ServiceParts;
  #loaded: Promise<Service> | undefined;

  /** @param parts called at the first request */
  constructor(parts: () => ServiceParts) {
    this.#parts = parts;
  }

  readonly handle: Service['handle'] = async (request, response) => {
    this.#loaded ??= this.#load();
    await (await this.#loaded).handle(request, response);
  };

  async #load(): Promise<Service> {
    const [{ createService }, { authenticator }] = await Promise.all([
      import('../api/service.ts'),
      import('../api/caller.ts'),
    ]);
    const parts = this.#parts();
    return createService(parts, authenticator(parts));
  }
}
