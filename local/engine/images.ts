/**
 * What an image name means on this machine: a program instead of a file system.
 *
 * The names come from two places: `compute` from `ebb start`, `cloudflare-dev/compute:1a2b3c` from `wrangler dev`
 * (which names an image after its class and a build). Only the part between is looked at.
 */

/** A program that stands for an image. */
export interface Image {
  /** Program and arguments. */
  command: readonly string[];
  /** Ports that it listens on inside its "container"; the process is told by `PORT_n` where to listen instead. */
  ports: readonly number[];
  /** Its program is run by run-program.ts, so that connections can be given to it. */
  takesConnections?: boolean;
  /** Besides what the container's creator gives it. */
  env: Readonly<Record<string, string>>;
}

export type Images = Readonly<Record<string, Image>>;

/** The networking sidecar that workerd starts beside each container; the engine itself plays it. */
export const isSidecarImage = (reference: string): boolean => imageName(reference) === 'proxy-everything';

/** `registry/path/NAME:tag@digest` → `NAME`, in lower case. */
export function imageName(reference: string): string {
  const last = reference.slice(reference.lastIndexOf('/') + 1);
  return last.replace(/[:@].*$/, '').toLowerCase();
}
