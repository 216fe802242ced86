/** From what was read to what to read first next time. */
import { PAGES_MAX, type PageRun } from '../../../lib/protocol/pages.ts';

/**
 * Runs for the reads of a session, in the order of their first reading, each block once, at most `pagesMax` pages.
 * `toRun` makes the pageserver's name of blocks of a file.
 */
export function touchedRuns(
  reads: readonly { id: number; block: number; count: number }[],
  toRun: (id: number, block: number, count: number) => PageRun,
  pagesMax = PAGES_MAX,
): PageRun[] {
  const seen = new Map<number, Set<number>>();
  const runs: { id: number; block: number; count: number }[] = [];
  let pages = 0;
  for (const { id, block, count } of reads) {
    const blocks = seen.get(id) ?? new Set();
    seen.set(id, blocks);
    for (let at = block; at < block + count && pages < pagesMax; at++) {
      if (blocks.has(at)) continue;
      blocks.add(at);
      pages++;
      const last = runs.at(-1);
      if (last !== undefined && last.id === id && last.block + last.count === at) last.count++;
      else runs.push({ id, block: at, count: 1 });
    }
  }
  return runs.map((run) => toRun(run.id, run.block, run.count));
}
