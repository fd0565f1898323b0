import { configSources } from './sources.ts';

/** A config file whose edits act at once. */
export interface FollowedConfig {
  /**
   * Asked when a request has come: null where the last load says what the file says; else resolves when what it said
   * at the time of this call, or later, has been loaded. However many wait, it is loaded once; one that is not good is
   * loaded once too, until it changes.
   */
  newest(): Promise<void> | null;
  /** Loads, whether the file has changed or not. */
  reload(): Promise<void>;
  /** Resolves when nothing is being loaded. */
  idle(): Promise<void>;
}

/**
 * Begins with what the file says now.
 *
 * @param load loads the file, and puts it in force where it is good; never rejects. One runs at a time: what was read
 * first must not come into force last.
 */
export function followConfig(file: string, load: () => Promise<void>): FollowedConfig {
  const sources = configSources(file);
  let loading: Promise<void> | null = null;

  function begin(): void {
    sources.take();
    loading = load().finally(() => {
      sources.loaded();
      loading = null;
    });
  }

  /** One that is under way may have read the file before this call; one that begins after it has not. */
  async function loadAfterNow(isDue: () => boolean): Promise<void> {
    await loading;
    if (loading === null && isDue()) begin();
    await loading;
  }

  return {
    newest: () => (loading === null && !sources.differ() ? null : loadAfterNow(() => sources.differ())),
    reload: () => loadAfterNow(() => true),
    async idle() {
      await loading;
    },
  };
}
