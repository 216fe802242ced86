/** Everything that a timeline says as of an LSN, against the model: keys, sizes, and every page that is there. */
import { StorageError } from '../../../../containers/pageserver/remote/storage.ts';
import type { Timeline } from '../../../../containers/pageserver/timeline/timeline.ts';
import { formatLsn, type Lsn } from '../../../../lib/postgres/lsn.ts';
import {
  CHECKPOINT_KEY,
  COMMIT_TIME_KEY,
  CONTROL_FILE_KEY,
  formatKey,
  kindRange,
  pageKeyOfSize,
  type Key,
} from '../../../../lib/storage/key.ts';
import { decodeSize } from '../../../../lib/storage/value.ts';
import type { MemoryStore } from '../../../support/memory-store.ts';

const SCANNED = ['relationMap', 'database', 'twoPhase', 'slruSegment', 'relationSize'] as const;
const DIFFERENCES_MAX = 20;
const READ_ATTEMPTS_MAX = 5;

/** What differs, a line each; `isAsked` says which pages are compared. */
export async function compareWithModel(
  timeline: Timeline,
  model: MemoryStore,
  at: Lsn,
  isAsked: (page: Key) => boolean = () => true,
): Promise<{ pages: number; differences: string[] }> {
  const differences: string[] = [];
  let pages = 0;
  const compare = (key: Key, found: Uint8Array | null, expected: Uint8Array | null): void => {
    const isSame =
      found === null || expected === null ? found === expected : Buffer.compare(found, expected) === 0;
    if (!isSame && differences.length < DIFFERENCES_MAX)
      differences.push(`${formatKey(key)} at ${formatLsn(at)}: ${found?.length} bytes, not as expected`);
  };
  const read = async (key: Key, attempt = 1): Promise<void> => {
    try {
      compare(key, await timeline.reader.get(key, at, false), model.get(key, at));
    } catch (error) {
      // The bucket's faults outlast the retries now and then: the read fails, says why, and may be made again.
      if (error instanceof StorageError && attempt < READ_ATTEMPTS_MAX) return read(key, attempt + 1);
      if (differences.length < DIFFERENCES_MAX)
        differences.push(`${formatKey(key)} at ${formatLsn(at)}: ${(error as Error).message}`);
    }
  };
  for (const key of [COMMIT_TIME_KEY, CHECKPOINT_KEY, CONTROL_FILE_KEY]) await read(key);
  const view = timeline.view(at);
  for (const kind of SCANNED) {
    const found = new Map<Key, Uint8Array>();
    for await (const { key, content } of view.scan(kindRange(kind))) found.set(key, content);
    for await (const { key, content } of model.view(at).scan(kindRange(kind))) {
      compare(key, found.get(key) ?? null, content);
      found.delete(key);
      if (kind !== 'slruSegment' && kind !== 'relationSize') continue;
      for (let block = 0; block < decodeSize(content); block++) {
        const page = pageKeyOfSize(key, block);
        if (!isAsked(page)) continue;
        pages++;
        await read(page);
      }
    }
    for (const key of found.keys()) compare(key, found.get(key)!, null);
  }
  return { pages, differences };
}
