/**
 * Ground truth: what a pageserver (or anything that stands for one) says of an LSN, against the files of a real
 * Postgres that recovered the same WAL to that LSN.
 *
 *   compared                     with what
 *   relation forks and sizes     base/<db>/<rel>[_vm|_init][.seg], global/…; free space maps are left out
 *   every page of them           byte for byte, but for the masks in `maskPage`
 *   SLRU segments and pages      pg_xact, pg_multixact/{offsets,members}, pg_commit_ts
 *   whole files                  PG_VERSION, pg_filenode.map, pg_twophase/*
 *   databases                    base/<db>
 *   checkpoint fields            the end-of-recovery checkpoint, but for `CHECKPOINT_MASK`
 *
 * The free space map is a hint: Postgres does not log it, and recovery guesses at it from what it replays.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { CheckPoint, type CheckPointFields } from '../../lib/postgres/checkpoint.ts';
import { PAGE_SIZE, SLRU_KINDS, type BootManifest, type PageRun } from '../../lib/protocol/pages.ts';
import { FORK, FORK_NAMES } from '../../lib/storage/key.ts';

/** What is compared: the answers of one pageserver at one LSN. */
export interface GroundTruthSubject {
  manifest: BootManifest;
  blobs: Uint8Array;
  /** At most PAGES_MAX pages; null where there is none. */
  pages(runs: PageRun[]): Promise<(Uint8Array | null)[]>;
}

export interface GroundTruth {
  dataDirectory: string;
  checkPoint: CheckPointFields;
}

export interface GroundTruthReport {
  relations: number;
  pages: number;
  slruPages: number;
  files: number;
  /** One line each, the first hundred. */
  differences: string[];
}

const SEGMENT_PAGES = 131_072;
const BATCH_PAGES = 256;
const DIFFERENCES_MAX = 100;

/** Whoever starts the server sets these: its position, its clock, its settings. */
const CHECKPOINT_MASK = new Set<keyof CheckPointFields>([
  'redo',
  'time',
  'fullPageWrites',
  'oldestActiveXid',
]);

class Comparison implements GroundTruthReport {
  relations = 0;
  pages = 0;
  slruPages = 0;
  files = 0;
  differences: string[] = [];
  differ(line: string): void {
    if (this.differences.length < DIFFERENCES_MAX) this.differences.push(line);
  }
}

export async function compareGroundTruth(
  truth: GroundTruth,
  subject: GroundTruthSubject,
): Promise<GroundTruthReport> {
  const report = new Comparison();
  compareCheckPoint(truth.checkPoint, subject, report);
  compareFiles(truth.dataDirectory, subject, report);
  await compareRelations(truth.dataDirectory, subject, report);
  await compareSlrus(truth.dataDirectory, subject, report);
  return report;
}

function compareCheckPoint(truth: CheckPointFields, subject: GroundTruthSubject, report: Comparison): void {
  const [offset, length] = subject.manifest.checkPoint;
  const found = CheckPoint.decode(subject.blobs.subarray(offset, offset + length));
  for (const [name, value] of Object.entries(truth) as [keyof CheckPointFields, unknown][]) {
    if (CHECKPOINT_MASK.has(name) || found[name] === value) continue;
    report.differ(`checkpoint ${name}: ${String(found[name])}, ${String(value)} expected`);
  }
}

function compareFiles(dataDirectory: string, subject: GroundTruthSubject, report: Comparison): void {
  const expected = new Map<string, Uint8Array>();
  const databases = readdirSync(join(dataDirectory, 'base')).filter((name) => /^[0-9]+$/.test(name));
  const paths = ['PG_VERSION', 'global/pg_filenode.map'];
  for (const name of databases) paths.push(`base/${name}/PG_VERSION`, `base/${name}/pg_filenode.map`);
  for (const name of readdirSync(join(dataDirectory, 'pg_twophase'))) paths.push(`pg_twophase/${name}`);
  for (const path of paths) expected.set(path, readFileSync(join(dataDirectory, path)));

  for (const name of databases) {
    if (!subject.manifest.directories.includes(`base/${name}`)) report.differ(`no directory base/${name}`);
  }
  for (const path of subject.manifest.directories) {
    if (/^base\/[0-9]+$/.test(path) && !databases.includes(path.slice(5))) {
      report.differ(`directory ${path}: not expected`);
    }
  }
  for (const { path, content } of subject.manifest.files) {
    report.files++;
    const found = subject.blobs.subarray(content[0], content[0] + content[1]);
    const truth = expected.get(path);
    if (truth === undefined) report.differ(`file ${path}: not expected`);
    else if (Buffer.compare(truth, found) !== 0) report.differ(`file ${path}: content differs`);
    expected.delete(path);
  }
  for (const path of expected.keys()) report.differ(`no file ${path}`);
}

interface ForkFile {
  spcOid: number;
  dbOid: number;
  relNumber: number;
  fork: number;
  blocks: number;
  paths: string[];
}
const forkName = (of: Omit<ForkFile, 'paths' | 'blocks'>): string =>
  `relation ${of.spcOid}/${of.dbOid}/${of.relNumber} ${FORK_NAMES[of.fork]}`;

/** Relation forks of a data directory, by name. */
export function forkFiles(dataDirectory: string): Map<string, ForkFile> {
  const forks = new Map<string, ForkFile>();
  const visit = (folder: string, spcOid: number, dbOid: number): void => {
    for (const name of readdirSync(join(dataDirectory, folder)).sort()) {
      const match = /^([1-9][0-9]*)(?:_(fsm|vm|init))?(?:\.([0-9]+))?$/.exec(name);
      if (match === null) continue;
      const fork = FORK_NAMES.indexOf((match[2] ?? 'main') as 'main');
      const id = { spcOid, dbOid, relNumber: Number(match[1]), fork };
      const file = forks.get(forkName(id)) ?? { ...id, blocks: 0, paths: [] };
      const path = join(dataDirectory, folder, name);
      file.blocks += statSync(path).size / PAGE_SIZE;
      file.paths[Number(match[3] ?? 0)] = path;
      forks.set(forkName(id), file);
    }
  };
  visit('global', 1664, 0);
  for (const name of readdirSync(join(dataDirectory, 'base'))) {
    if (/^[0-9]+$/.test(name)) visit(`base/${name}`, 1663, Number(name));
  }
  return forks;
}

async function compareRelations(
  dataDirectory: string,
  subject: GroundTruthSubject,
  report: Comparison,
): Promise<void> {
  const expected = forkFiles(dataDirectory);
  for (const [spcOid, dbOid, relNumber, fork, blocks] of subject.manifest.relations) {
    if (fork === FORK.fsm) continue;
    const id = { spcOid, dbOid, relNumber, fork };
    const name = forkName(id);
    const truth = expected.get(name);
    expected.delete(name);
    if (truth === undefined) {
      report.differ(`${name}: not expected`);
      continue;
    }
    report.relations++;
    if (truth.blocks !== blocks) report.differ(`${name}: ${blocks} blocks, ${truth.blocks} expected`);
    const count = Math.min(blocks, truth.blocks);
    for (let block = 0; block < count; block += BATCH_PAGES) {
      const run = { kind: 'relation', ...id, block, count: Math.min(BATCH_PAGES, count - block) } as const;
      report.pages += run.count;
      const found = await answer(subject, run, name, report);
      if (found === null) continue;
      comparePages(name, block, readBlocks(truth, block, run.count), found, report, fork !== FORK.vm);
    }
  }
  for (const [name, { fork }] of expected) if (fork !== FORK.fsm) report.differ(`no ${name}`);
}

function readBlocks(fork: ForkFile, block: number, count: number): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let at = block; at < block + count;) {
    const segment = Math.floor(at / SEGMENT_PAGES);
    const within = at % SEGMENT_PAGES;
    const pages = Math.min(block + count - at, SEGMENT_PAGES - within);
    parts.push(readFileSync(fork.paths[segment]).subarray(within * PAGE_SIZE, (within + pages) * PAGE_SIZE));
    at += pages;
  }
  return Buffer.concat(parts);
}

async function compareSlrus(
  dataDirectory: string,
  subject: GroundTruthSubject,
  report: Comparison,
): Promise<void> {
  for (const slru of SLRU_KINDS) {
    const expected = new Set(readdirSync(join(dataDirectory, slru)));
    for (const { segment, blocks } of subject.manifest.slrus.filter(({ kind }) => kind === slru)) {
      const file = segment.toString(16).toUpperCase().padStart(4, '0');
      const name = `${slru}/${file}`;
      if (!expected.delete(file)) {
        report.differ(`${name}: not expected`);
        continue;
      }
      const truth = readFileSync(join(dataDirectory, slru, file));
      if (truth.length !== blocks * PAGE_SIZE) {
        report.differ(`${name}: ${blocks} pages, ${truth.length / PAGE_SIZE} expected`);
      }
      const count = Math.min(blocks, truth.length / PAGE_SIZE);
      report.slruPages += count;
      const run = { kind: 'slru', slru, segment, block: 0, count } as const;
      const found = await answer(subject, run, name, report);
      if (found !== null) comparePages(name, 0, truth, found, report, false);
    }
    for (const file of expected) report.differ(`no ${slru}/${file}`);
  }
}

/** The pages of a run; where reading fails, that is a difference. */
async function answer(
  subject: GroundTruthSubject,
  run: PageRun,
  name: string,
  report: Comparison,
): Promise<(Uint8Array | null)[] | null> {
  try {
    return await subject.pages([run]);
  } catch (error) {
    report.differ(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    return null;
  }
}

function comparePages(
  name: string,
  firstBlock: number,
  truth: Uint8Array,
  found: (Uint8Array | null)[],
  report: Comparison,
  mask: boolean,
): void {
  for (const [i, page] of found.entries()) {
    if (page === null) {
      report.differ(`${name} block ${firstBlock + i}: not found`);
      continue;
    }
    const expected = truth.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE);
    if (Buffer.compare(expected, page) === 0) continue;
    const [a, b] = mask ? [maskPage(expected), maskPage(page)] : [expected, page];
    const at = a.findIndex((byte, index) => byte !== b[index]);
    if (at < 0) continue;
    const show = (bytes: Uint8Array): string => Buffer.from(bytes.subarray(at, at + 16)).toString('hex');
    report.differ(`${name} block ${firstBlock + i} at ${at}: ${show(b)}, ${show(a)} expected`);
  }
}

const GIST_PAGE_ID = 0xff81;
const F_TUPLES_DELETED = 0x04;

/**
 * What two right redos of a page may differ in: the bytes between pd_lower and pd_upper, which mean nothing (in a
 * visibility map they mean everything: its header does not count the map), and of a GiST page a flag that recovery
 * sets and the server that wrote the record did not (docs/REDO.md).
 */
function maskPage(page: Uint8Array): Uint8Array {
  const data = new DataView(page.buffer, page.byteOffset, page.byteLength);
  const [lower, upper] = [data.getUint16(12, true), data.getUint16(14, true)];
  const masked = page.slice();
  if (lower >= 24 && lower <= upper && upper <= PAGE_SIZE) masked.fill(0, lower, upper);
  const isGist = data.getUint16(16, true) === PAGE_SIZE - 16 && data.getUint16(8190, true) === GIST_PAGE_ID;
  if (isGist) masked[8188] &= ~F_TUPLES_DELETED;
  return masked;
}
