/**
 * The layers, bottom first. A folder imports itself and the layers below it; folders of one layer do not
 * import each other.
 */
export const layers: readonly (readonly string[])[] = [
  ['lib'],
  ['proxy/policy'],
  ['domain'],
  ['proxy/http'],
  ['proxy/leak-guard', 'store/vault'],
  ['proxy/schemes'],
  ['store', 'agents/quota', 'grants/oauth', 'ca', 'audit', 'config', 'proxy/upstream'],
  ['grants'],
  ['agents', 'agents/approvals', 'proxy/placeholders', 'proxy/telemetry'],
  ['proxy', 'clients', 'clients/confine'],
  ['operations'],
  ['api'],
  ['sdk'],
  // Run in browsers.
  ['pages'],
  ['app'],
  ['cli'],
];

/** Returns the folder of a file: one with a layer of its own, or that at the top of `src`. */
export function folderOf(file: string): string {
  const [top = '', sub = ''] = file.split('/', 2);
  return layers.flat().includes(`${top}/${sub}`) ? `${top}/${sub}` : top;
}
