/**
 * What `wrangler.toml` says, as far as running the Worker on one machine needs it.
 *
 * That file is the only list of classes, bindings and images: `wrangler deploy`, `wrangler dev` and `ebb start`
 * take them from it. A section that this reader does not know and that changes what the Worker is given would
 * make the two differ, so unknown top-level sections are an error.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'smol-toml';
import { z } from 'zod';

const WranglerConfig = z.strictObject({
  name: z.string(),
  main: z.string(),
  compatibility_date: z.string(),
  compatibility_flags: z.array(z.string()).default([]),
  durable_objects: z.object({
    bindings: z.array(z.strictObject({ name: z.string(), class_name: z.string() })),
  }),
  migrations: z.array(z.strictObject({ tag: z.string(), new_sqlite_classes: z.array(z.string()) })),
  containers: z.array(z.looseObject({ class_name: z.string(), image: z.string() })),
  r2_buckets: z.array(
    z.strictObject({
      binding: z.string(),
      bucket_name: z.string(),
      local_dev: z.object({
        experimental_s3_credentials: z.object({ accessKeyId: z.string(), secretAccessKey: z.string() }),
      }),
    }),
  ),
  /** Where `wrangler dev` takes Postgres's protocol; `ebb start` has an option for it. */
  connect: z.tuple([z.looseObject({ protocol: z.literal('tcp'), port: z.number() })]),
  vars: z.record(z.string(), z.string()),
  secrets: z.strictObject({ required: z.array(z.string()) }),
  // What these say holds elsewhere: on Cloudflare, or for `wrangler dev`.
  send_metrics: z.unknown(),
  workers_dev: z.unknown(),
  observability: z.unknown().optional(),
  dev: z.unknown(),
});
export type WranglerConfig = z.infer<typeof WranglerConfig>;

/** The checkout's root folder, which holds wrangler.toml and the programs of the containers. */
export const ROOT = join(import.meta.dirname, '..', '..');

/** Reads and checks `wrangler.toml`. Throws an Error that names the file and the first thing wrong with it. */
export function readWranglerConfig(path: string = join(ROOT, 'wrangler.toml')): WranglerConfig {
  const result = WranglerConfig.safeParse(parse(readFileSync(path, 'utf8')));
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new Error(`${path}: ${issue?.path.join('.') || 'top level'}: ${issue?.message}`);
}

/** Image name of a container class: what `wrangler dev` calls it too. */
export const imageOfClass = (className: string): string => className.toLowerCase();
