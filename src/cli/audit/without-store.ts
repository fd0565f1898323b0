import type { Context } from '../context.ts';

/**
 * Returns a context for work that can do without the store: if the store cannot be read, the work gets a view
 * without one.
 *
 * @param isUnneeded reports whether the work goes on after an error; `isOpen`: it was one of the work itself
 */
export function perhapsWithoutStore(
  context: Context,
  isUnneeded: (error: unknown, isOpen: boolean) => boolean,
): Context {
  return {
    ...context,
    async withView(use) {
      let isOpen = false;
      try {
        return await context.withView((view) => {
          isOpen = true;
          return use(view);
        });
      } catch (error) {
        if (!isUnneeded(error, isOpen)) throw error;
        const { viewWithoutStore } = await import('../../app/state.ts');
        return use(viewWithoutStore(await context.readConfig(), context));
      }
    },
  };
}
