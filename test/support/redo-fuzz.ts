/**
 * Damaged records and damaged pages into redo, as a process of its own (so that a hang is a timeout of it):
 *
 *   node test/support/redo-fuzz.ts WAL_FOLDER SEED ROUNDS
 *
 * Takes real records with the real pages they apply to, breaks one of the two or both (bits, bytes, pieces of others,
 * cut off, another record's tail, another page altogether), and demands an error of ours or a page, soon; nothing else, no
 * byte written outside of the page or into the record, nothing read behind the record. Prints what it did as JSON, and
 * how far it is to stderr.
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

/** Cuts the record off, or gives it another's tail; the header says that this is its length, two times in three. */
function cutOrJoin(
  bytes: Uint8Array,
  other: Uint8Array,
  random: (below: number) => number,
): Uint8Array<ArrayBuffer> {
  const at = random(bytes.length);
  const tail = random(2) === 0 ? [] : other.subarray(random(other.length));
  const result = new Uint8Array(at + tail.length);
  result.set(bytes.subarray(0, at));
  result.set(tail, at);
  if (result.length >= 4 && random(3) > 0) new DataView(result.buffer).setUint32(0, result.length, true);
  return result;
}

/** Far above what any record takes, for a machine that does other things too. */
const ATTEMPT_MS_MAX = 2000;
const record = newWalRecord();
const arena = new Uint8Array(8192 + 2 * GUARD);

/**
 * Redo of a record on a page. What stands behind the record in memory is filled with `behind`: nothing may depend on it.
 * Returns the outcome and the page; throws what is no error of ours.
 */
function attempt(sample: Sample, bytes: Uint8Array, base: Uint8Array, behind: number): [string, Uint8Array] {
  arena.fill(0xa5);
  const page = arena.subarray(GUARD, GUARD + 8192);
  page.set(base);
  const before = bytes.slice();
  const started = performance.now();
  let outcome = 'applied';
  try {
    decodeRecord(bytes, sample.lsn, sample.endLsn, record);
    record.copy?.bytes.fill(behind, bytes.length);
    if (sample.blockIndex < record.blockCount) redoBlock(record, sample.blockIndex, page);
  } catch (error) {
    if (error instanceof RedoError) outcome = 'refused';
    else if (error instanceof WalError) outcome = 'undecodable';
    else throw error;
  }
  for (let i = 0; i < GUARD; i++) {
    if (arena[i] === 0xa5 && arena[GUARD + 8192 + i] === 0xa5) continue;
    throw new Error('bytes outside of the page were written');
  }
  if (Buffer.compare(bytes, before) !== 0) throw new Error('the record was written to');
  const ms = performance.now() - started;
  if (ms > ATTEMPT_MS_MAX) throw new Error(`${outcome} after ${Math.round(ms)} ms`);
  return [outcome, page.slice()];
}

function run(samples: Sample[], seed: number, rounds: number): Record<string, number> {
  const random = randomFrom(seed);
  const outcomes: Record<string, number> = { rounds, applied: 0, refused: 0, undecodable: 0 };
  for (let round = 0; round < rounds; round++) {
    const sample = samples[random(samples.length)];
    const other = samples[random(samples.length)];
    if (round % 1000 === 0) process.stderr.write(`seed ${seed}, round ${round}\n`);
    let bytes = sample.bytes.slice();
    const base = sample.page.slice();
    const what = random(3);
    if (what !== 1 && random(6) === 0) bytes = cutOrJoin(bytes, other.bytes, random);
    else if (what !== 1) for (let n = random(3); n >= 0; n--) damage(bytes, 24, other.bytes, random);
    if (what !== 0 && random(10) === 0) base.set(other.page.subarray(8), 8);
    else if (what !== 0) for (let n = random(3); n >= 0; n--) damage(base, 8, other.page, random);
    try {
      const [outcome, page] = attempt(sample, bytes, base, 0);
      const [again, pageAgain] = attempt(sample, bytes, base, 0xff);
      outcomes[outcome]++;
      if (outcome !== again) throw new Error(`${outcome}, then ${again}`);
      if (outcome === 'applied' && Buffer.compare(page, pageAgain) !== 0) {
        throw new Error('the page depends on bytes behind the record');
      }
    } catch (error) {
      throw new Error(`round ${round} of seed ${seed}: ${sample.type}`, { cause: error });
    }
  }
  return outcomes;
}

const [wal, seed, rounds] = process.argv.slice(2);
const samples = collect(new WalFolder(wal, postgres18));
const types = new Set(samples.map(({ type }) => type)).size;
const outcomes = run(samples, Number(seed), Number(rounds));
process.stdout.write(`${JSON.stringify({ samples: samples.length, types, ...outcomes })}\n`);
