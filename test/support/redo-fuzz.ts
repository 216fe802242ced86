/**
 * Damaged records and damaged pages into redo, as a process of its own (so that a hang is a timeout of it):
 *
 *   node test/support/redo-fuzz.ts WAL_FOLDER SEED ROUNDS
 *
 * Takes real records with the real pages they apply to, breaks one of the two, and demands an error of ours or a page;
 * nothing else, and no byte written outside of the page. Prints what it did as JSON.
 */
import { decodeRecord, newWalRecord } from '../../lib/postgres/wal/decode-record.ts';
import { WalDecoder } from '../../lib/postgres/wal/decoder.ts';
import { WalError } from '../../lib/postgres/wal/errors.ts';
import { redoBlock, RedoError, startsAnew } from '../../lib/postgres/redo/redo.ts';
import { MemoryPageStore } from '../../lib/postgres/redo/check/page-store.ts';
import { applyStorageChanges } from '../../lib/postgres/redo/check/storage-changes.ts';
import { recordTypeName, resourceManagerName } from '../../lib/postgres/wal/describe.ts';
import { postgres18 } from '../../lib/postgres/v18/wal.ts';
import type { Lsn } from '../../lib/postgres/lsn.ts';
import { WalFolder } from '../../local/redo-check/wal-folder.ts';

interface Sample {
  type: string;
  bytes: Uint8Array;
  lsn: Lsn;
  endLsn: Lsn;
  blockIndex: number;
  page: Uint8Array;
}
const PER_TYPE = 10;
const GUARD = 64;

/** A few samples of each record type and block. */
function collect(folder: WalFolder): Sample[] {
  const samples = new Map<string, Sample[]>();
  const pages = new MemoryPageStore();
  const decoder = new WalDecoder({ startLsn: folder.start, facts: postgres18 });
  const record = newWalRecord();
  const drain = () => {
    while (decoder.next(record)) {
      for (let i = 0; i < record.blockCount; i++) {
        const block = record.blocks[i];
        const known = pages.get(block);
        if (known === undefined && !startsAnew(block) && block.fork !== 2) continue;
        const page = known ?? new Uint8Array(8192);
        const type = `${resourceManagerName(record.resourceManager, postgres18)}/${recordTypeName(record.resourceManager, record.info, postgres18)}`;
        const key = `${type} ${block.id}`;
        const kept = samples.get(key) ?? [];
        samples.set(key, kept);
        const { lsn, endLsn, totalLength } = record;
        // Early ones are alike: keep replacing, so that the last are spread over the log.
        const sample = {
          type,
          bytes: record.bytes.slice(0, totalLength),
          lsn,
          endLsn,
          blockIndex: i,
          page: page.slice(),
        };
        if (kept.length < PER_TYPE) kept.push(sample);
        else if (record.lsn % 97 < 8) kept[(record.lsn / 8) % PER_TYPE] = sample;
        redoBlock(record, i, page);
        pages.put(block, page);
      }
      applyStorageChanges(record, pages);
    }
  };
  try {
    for (const chunk of folder.read(folder.start)) {
      decoder.push(chunk);
      drain();
    }
  } catch (error) {
    if (!(error instanceof WalError)) throw error; // the end of the log
  }
  return [...samples.values()].flat();
}

/** xorshift32: the same damage for the same seed. */
function randomFrom(seed: number): (below: number) => number {
  let state = Math.imul(seed + 1, 0x9e3779b1) | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

function damage(bytes: Uint8Array, from: number, other: Uint8Array, random: (below: number) => number): void {
  const length = bytes.length - from;
  if (length <= 0) return;
  // Lengths, counts and offsets stand at the beginning.
  const at = from + random(random(2) === 0 ? length : Math.min(length, 60));
  switch (random(5)) {
    case 0:
      bytes[at] ^= 1 << random(8);
      return;
    case 1:
      bytes[at] = random(256);
      return;
    case 2:
      bytes.fill(0xff, at, at + 1 + random(4));
      return;
    case 3:
      bytes.fill(0, at, at + 1 + random(200));
      return;
    default: {
      const part = other.subarray(random(other.length));
      bytes.set(part.subarray(0, Math.min(part.length, bytes.length - at, 1 + random(300))), at);
    }
  }
}

function run(samples: Sample[], seed: number, rounds: number): Record<string, number> {
  const random = randomFrom(seed);
  const outcomes = { rounds: 0, applied: 0, refused: 0, undecodable: 0 };
  const record = newWalRecord();
  const arena = new Uint8Array(8192 + 2 * GUARD);
  for (let round = 0; round < rounds; round++) {
    const sample = samples[random(samples.length)];
    const other = samples[random(samples.length)];
    const bytes = sample.bytes.slice();
    arena.fill(0xa5);
    const page = arena.subarray(GUARD, GUARD + 8192);
    page.set(sample.page);
    const what = random(3);
    if (what !== 1) for (let n = random(3); n >= 0; n--) damage(bytes, 24, other.bytes, random);
    if (what !== 0) for (let n = random(3); n >= 0; n--) damage(page, 8, other.page, random);
    outcomes.rounds++;
    try {
      decodeRecord(bytes, sample.lsn, sample.endLsn, record);
      if (sample.blockIndex >= record.blockCount) continue;
      redoBlock(record, sample.blockIndex, page);
      outcomes.applied++;
    } catch (error) {
      if (error instanceof RedoError) outcomes.refused++;
      else if (error instanceof WalError) outcomes.undecodable++;
      else throw new Error(`round ${round} of seed ${seed}: ${sample.type}`, { cause: error });
    }
    for (let i = 0; i < GUARD; i++) {
      if (arena[i] === 0xa5 && arena[GUARD + 8192 + i] === 0xa5) continue;
      throw new Error(`round ${round} of seed ${seed}: ${sample.type} wrote outside of its page`);
    }
  }
  return outcomes;
}

const [wal, seed, rounds] = process.argv.slice(2);
const samples = collect(new WalFolder(wal, postgres18));
const types = new Set(samples.map(({ type }) => type)).size;
const outcomes = run(samples, Number(seed), Number(rounds));
process.stdout.write(`${JSON.stringify({ samples: samples.length, types, ...outcomes })}\n`);
