import { collectDefaultMetrics, Registry } from '@prometheus-io/client';
import type { Figure } from './figures.ts';

/** OpenMetrics text (prometheus.io/docs/specs/om/open_metrics_spec), by the client library of Prometheus. */

let runtime: Registry | undefined;

/** Returns memory, CPU, event loop and GC metrics. Measures only after the first call, to save its cost. */
export async function readRuntime(): Promise<readonly Figure[]> {
  if (runtime === undefined) {
    runtime = new Registry();
    collectDefaultMetrics({ register: runtime });
  }
  return (await runtime.getMetricsAsJSON()) as unknown as readonly Figure[];
}

/** Returns the combined metrics of several processes as text, and its media type. */
export async function openMetrics(
  processes: readonly (readonly Figure[])[],
): Promise<{ readonly type: string; readonly text: string }> {
  const registry = Registry.aggregate(processes.map((figures) => [...figures]));
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  return { type: Registry.OPENMETRICS_CONTENT_TYPE, text: await registry.metrics() };
}
