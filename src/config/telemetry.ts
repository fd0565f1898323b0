import { z } from 'zod';
import { optional } from '../lib/text.ts';
import { headerFields } from './audit.ts';
import { receiver } from './scalar.ts';

/** The `telemetry` part of the config file: its schema and its settings. */

/** The keys of `telemetry`. */
export const telemetrySchema = z.strictObject({
  traces: optional(
    z.strictObject({
      url: receiver(
        'The traces endpoint of an OpenTelemetry collector, such as https://HOST:4318/v1/traces.',
      ),
      sample: z.number().min(0).max(1).prefault(0.1).meta({
        description:
          'Part of the requests that are traced, from 0 to 1. A request with a traceparent is traced if that says so.',
      }),
      paths: z.boolean().prefault(false).meta({ description: 'Whether spans have paths; never queries.' }),
      headers: headerFields,
    }),
    'Where traces are sent. Default: nowhere.',
  ),
});

export interface TelemetryConfig {
  /** Null: no traces. */
  readonly traces: NonNullable<z.output<typeof telemetrySchema>['traces']> | null;
}
