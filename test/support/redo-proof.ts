/**
 * Proof that the oracle itself can be trusted, as a process of its own:
 *
 *   node test/support/redo-proof.ts planted|masks WAL_FOLDER...
 *
 * Planted errors: in the redo of each record type one byte that it wrote is changed once; the check must report exactly
 * that record and block. Of images that are restored whole (XLOG) some get a wrong byte; the next record on such a
 * block must be reported. Needed masks: each mask is left out of the comparison; pages must differ then, or the mask is
 * wider than it need be. Prints JSON.
 */
import type { PageMask } from '../../lib/postgres/page/mask.ts';
import { isNewPage, PAGE_BYTES, pageOver, pageSpecial, type Page } from '../../lib/postgres/page/page.ts';
import { RedoCheck } from '../../lib/postgres/redo/check/check.ts';
import { MemoryPageStore } from '../../lib/postgres/redo/check/page-store.ts';
import { resourceManagers } from '../../lib/postgres/redo/redo.ts';
import { postgres18 } from '../../lib/postgres/v18/wal.ts';
import { WalDecoder } from '../../lib/postgres/wal/decoder.ts';
import { nameBlock, recordTypeName } from '../../lib/postgres/wal/describe.ts';
import { WalError } from '../../lib/postgres/wal/errors.ts';
import { RM } from '../../lib/postgres/wal/facts.ts';
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
  /** `Heap/INSERT`. */
  type: string;
  found: boolean;
}
export interface MaskProof {
  resourceManager: string;
  mask: string;
  needed: boolean;
}

/**
 * A byte of the page that redo changed (where `before` is known and it changed any) and no mask hides; -1 when all of the
 * page is masked.
 */
function visibleByte(
  before: Page | undefined,
  after: Page,
  masks: readonly PageMask[],
  block: number,
): number {
  const is = masked(after, masks, block);
  const was = before === undefined ? undefined : masked(before, masks, block);
  for (const changed of [true, false]) {
    for (let i = PAGE_BYTES - 1; i >= 0; i--) {
      if (changed ? was === undefined || was[i] === is[i] : after.bytes[i] === 0) continue;
      const wrong = copyOf(after);
      wrong.bytes[i] ^= 1;
      try {
        if (firstDifference(masked(wrong, masks, block), is) >= 0) return i;
      } catch {
        continue; // a page header that cannot even be masked
      }
    }
  }
  return -1;
}

const typeOf = (record: WalRecord): string =>
  `${nameOf(record.resourceManager)}/${recordTypeName(record.resourceManager, record.info, postgres18)}`;
/** Where the redo of each record type went wrong on purpose. */
const plantedAt = new Map<string, string>();
/** Blocks whose image was restored wrongly on purpose. */
const plantedImages = new Set<string>();
/** Most images are of catalogs that nothing touches again: some are taken from everywhere. */
const IMAGES_BETWEEN = 16;

function plantErrors(): void {
  for (const [id, manager] of resourceManagers.entries()) {
    if (manager?.masks === undefined) continue;
    const { masks } = manager;
    const redo = manager.redo.bind(manager);
    resourceManagers[id] = {
      ...manager,
      redo(record: WalRecord, block: BlockReference, page: Page): boolean {
        const type = typeOf(record);
        if (plantedAt.has(type) || !block.hasImage || plantedImages.has(nameBlock(block))) {
          return redo(record, block, page);
        }
        // A page of zeros cannot be masked: anything visible will do there.
        const before = block.willInit || isNewPage(page) ? undefined : copyOf(page);
        const setsLsn = redo(record, block, page);
        const at = visibleByte(before, page, masks, block.block);
        if (at < 0) return setsLsn;
        page.bytes[at] ^= 1;
        plantedAt.set(type, `${record.lsn} ${nameBlock(block)}`);
        return setsLsn;
      },
    };
  }
  let images = 0;
  const xlog = resourceManagers[RM.XLOG];
  if (xlog === undefined) throw new Error('XLOG has redo');
  resourceManagers[RM.XLOG] = {
    ...xlog,
    afterImage(_record, block, page) {
      if (images++ % IMAGES_BETWEEN > 0 || isNewPage(page) || block.fork !== 0) return;
      let at = pageSpecial(page) - 1;
      while (at > 0 && page.bytes[at] === 0) at--;
      page.bytes[at] ^= 1;
      plantedImages.add(nameBlock(block));
    },
  };
}
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
  const isImage = (report: string) => plantedImages.has(report.slice(report.indexOf(' ') + 1));
  const stray = [...reported].filter((report) => !expected.has(report) && !isImage(report));
  if (stray.length > 0) throw new Error(`mismatches that were not planted: ${stray.join(', ')}`);
  return [
    { type: 'XLOG/FPI', found: [...reported].some(isImage) },
    ...[...plantedAt].map(([type, place]) => ({ type, found: reported.has(place) })),
  ];
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
