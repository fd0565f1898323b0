import { z } from 'zod';

/** The clients of `docs/clients.md`, which `clients` of the config can turn off. */
export const clientNames = [
  'curl',
  'wget',
  'git',
  'node',
  'npm',
  'yarn',
  'bun',
  'deno',
  'python',
  'pip',
  'uv',
  'yt-dlp',
  'httplib2',
  'aws',
  'gcloud',
  'azure',
  'go',
  'cargo',
  'rust',
  'java',
  'bazel',
  'ruby',
  'php',
  'perl',
  'dotnet',
  'elixir',
  'julia',
  'r',
  'libcurl',
  'aria2',
  'ffmpeg',
  'mercurial',
  'subversion',
  'apt',
  'agents',
  'nix',
  'grpc',
  'docker',
  'chromium',
] as const;

export type ClientName = (typeof clientNames)[number];

export const clientsSchema = z.partialRecord(z.enum(clientNames), z.enum(['on', 'off']));

/** Returns the clients that are turned off. */
export function clientsOff(values: z.output<typeof clientsSchema>): ReadonlySet<ClientName> {
  return new Set(clientNames.filter((name) => values[name] === 'off'));
}
