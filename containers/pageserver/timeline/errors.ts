/** What a request to a timeline can fail with; the codes are those of the page service (lib/protocol/pages.ts). */
import { LayerError } from '../../../lib/storage/layers/format.ts';
import { ReconstructError } from '../../../lib/storage/reconstruct.ts';
import type { PageErrorCode } from '../../../lib/protocol/pages.ts';
import { StorageError } from '../remote/storage.ts';

export class TimelineError extends Error {
  override readonly name = 'TimelineError';
  readonly code: PageErrorCode;
  constructor(code: PageErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.code = code;
  }
}

/** A pageserver of a newer generation has the timeline. This one must stop and report nothing more. */
export class SupersededError extends Error {
  override readonly name = 'SupersededError';
}

/** The code and message that a caller gets for any failure. */
export function describeFailure(error: unknown): { code: PageErrorCode; message: string } {
  if (error instanceof TimelineError) return { code: error.code, message: error.message };
  if (error instanceof ReconstructError) return { code: 'redo', message: error.message };
  if (error instanceof SupersededError) return { code: 'stopping', message: error.message };
  if (error instanceof LayerError || error instanceof StorageError)
    return { code: 'internal', message: error.message };
  return { code: 'internal', message: error instanceof Error ? error.message : String(error) };
}
