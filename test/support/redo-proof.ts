/**
 * Proof that the oracle itself can be trusted, as a process of its own:
 *
 *   node test/support/redo-proof.ts planted|masks WAL_FOLDER...
 *
 * Planted errors: in each resource manager's redo one byte that it wrote is changed once; the check must report exactly
 * that record and block. Needed masks: each mask is left out of the comparison; pages must differ then, or the mask is
 * wider than it need be. Prints JSON.
 */
import type { PageMask } from '../../lib/postgres/page/mask.ts';
import { PAGE_BYTES, pageOver, type Page } from '../../lib/postgres/page/page.ts';
import { RedoCheck } from '../../lib/postgres/redo/check/check.ts';
import { MemoryPageStore } from '../../lib/postgres/redo/check/page-store.ts';
import { resourceManagers } from '../../lib/postgres/redo/redo.ts';
import { postgres18 } from '../../lib/postgres/v18/wal.ts';
import { WalDecoder } from '../../lib/postgres/wal/decoder.ts';
import { nameBlock } from '../../lib/postgres/wal/describe.ts';
import { WalError } from '../../lib/postgres/wal/errors.ts';
import { newWalRecord, type BlockReference, type WalRecord } from '../../lib/postgres/wal/record.ts';
import { WalFolder } from '../../local/redo-check/wal-folder.ts';

const nameOf = (id: number): string => postgres18.resourceManagers[id];
const copyOf = (page: Page): Page => pageOver(page.bytes.slice());

function masked(page: Page, masks: Iterable<PageMask>, block: number): Uint8Array {
  const copy = copyOf(page);
  for (const mask of masks) mask.apply(copy, block);
  return copy.bytes;
}
function firstDifference(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < PAGE_BYTES; i++) if (a[i] !== b[i]) return i;
  return -1;
}

export interface PlantedError {
  resourceManager: string;
  planted: boolean;
  found: boolean;
}
export interface MaskProof {
  resourceManager: string;
  mask: string;
  needed: boolean;
}

/** A byte of the page that redo changed and no mask hides; -1 when there is none. */
function visibleChange(before: Page, after: Page, masks: readonly PageMask[], block: number): number {
  const was = masked(before, masks, block);
  const is = masked(after, masks, block);
  for (let i = PAGE_BYTES - 1; i >= 0; i--) {
    if (was[i] === is[i]) continue;
    const wrong = copyOf(after);
    wrong.bytes[i] ^= 1;
    try {
      if (firstDifference(masked(wrong, masks, block), is) >= 0) return i;
    } catch {
      continue; // a page header that cannot even be masked
    }
  }
  return -1;
}

/** Where each resource manager's redo went wrong on purpose, by RmgrId. */
const plantedAt = new Map<number, string>();
/** Not the very first call: an error must also be found in the middle of a page's life. */
const SKIP = 4;

function plantErrors(): void {
  for (const [id, manager] of resourceManagers.entries()) {
    if (manager?.masks === undefined) continue;
    const { masks } = manager;
    let calls = 0;
    const redo = manager.redo.bind(manager);
    resourceManagers[id] = {
      ...manager,
      redo(record: WalRecord, block: BlockReference, page: Page): boolean {
        if (plantedAt.has(id) || !block.hasImage || calls++ < SKIP) return redo(record, block, page);
        // A page of zeros cannot be masked: anything visible will do there.
        const before = block.willInit ? undefined : copyOf(page);
        const setsLsn = redo(record, block, page);
        const at = before === undefined ? -1 : visibleChange(before, page, masks, block.block);
        if (at < 0 && id !== SEQUENCE) return setsLsn;
        page.bytes[at < 0 ? PAGE_BYTES - 20 : at] ^= 1;
        plantedAt.set(id, `${record.lsn} ${nameBlock(block)}`);
        return setsLsn;
      },
    };
  }
}
/** Writes whole pages only. */
const SEQUENCE = 15;

const allMasks = Array.from(resourceManagers, (manager) => manager?.masks ?? []);
/** By list: Heap and Heap2 have the same. */
const unproven = new Map(allMasks.map((masks) => [masks, new Set(masks)]));

function tryWithoutMasks(record: WalRecord, block: BlockReference, expected: Page, found: Page): void {
  const masks = allMasks[record.resourceManager];
  const open = unproven.get(masks);
  if (open === undefined || open.size === 0) return;
  const differ = (applied: PageMask[]) => {
    try {
      return (
        firstDifference(masked(expected, applied, block.block), masked(found, applied, block.block)) >= 0
      );
    } catch {
      return false;
    }
  };
  // Equal without all of those: then without any one of them too.
  if (!differ(masks.filter((mask) => !open.has(mask)))) return;
  for (const mask of open) if (differ(masks.filter((other) => other !== mask))) open.delete(mask);
}

const reported = new Set<string>();
function replay(folder: WalFolder, onCompare?: typeof tryWithoutMasks): void {
  const check = new RedoCheck({
    facts: postgres18,
    pages: new MemoryPageStore(),
    onFailure: (failure) => reported.add(`${failure.lsn} ${failure.block}`),
    ...(onCompare === undefined ? {} : { onCompare }),
  });
  const decoder = new WalDecoder({ startLsn: folder.start, facts: postgres18 });
  const record = newWalRecord();
  try {
    for (const chunk of folder.read(folder.start)) {
      decoder.push(chunk);
      while (decoder.next(record)) check.check(record);
    }
  } catch (error) {
    if (!(error instanceof WalError)) throw error; // the end of the log
  }
}

/** Errors planted in one run of the check, and whether it found each and nothing else. */
function provePlanted(folders: string[]): PlantedError[] {
  plantErrors();
  for (const folder of folders) replay(new WalFolder(folder, postgres18));
  const expected = new Set(plantedAt.values());
  const stray = [...reported].filter((report) => !expected.has(report));
  if (stray.length > 0) throw new Error(`mismatches that were not planted: ${stray.join(', ')}`);
  return maskedIds.map((id) => ({
    resourceManager: nameOf(id),
    planted: plantedAt.has(id),
    found: reported.has(plantedAt.get(id) ?? ''),
  }));
}

function proveMasks(folders: string[]): MaskProof[] {
  for (const folder of folders) replay(new WalFolder(folder, postgres18), tryWithoutMasks);
  return maskedIds.flatMap((id) =>
    allMasks[id].map((mask) => ({
      resourceManager: nameOf(id),
      mask: mask.what,
      needed: unproven.get(allMasks[id])?.has(mask) === false,
    })),
  );
}

const maskedIds = [...resourceManagers.keys()].filter((id) => allMasks[id].length > 0);
const [what, ...folders] = process.argv.slice(2);
const proof = what === 'planted' ? provePlanted(folders) : proveMasks(folders);
process.stdout.write(`${JSON.stringify(proof)}\n`);
