/** Why FUSE tests are skipped here; undefined where they run. */
import { closeSync, openSync } from 'node:fs';

function reason(): string | undefined {
  if (process.platform !== 'linux') return `skipped, no FUSE on ${process.platform}`;
  if (process.getuid?.() !== 0) return 'skipped, only root can mount FUSE';
  try {
    closeSync(openSync('/dev/fuse', 'r+'));
    return undefined;
  } catch (error) {
    return `skipped, /dev/fuse: ${(error as Error).message}`;
  }
}
export const fuseMissing: string | undefined = reason();
