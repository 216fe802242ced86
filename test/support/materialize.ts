/**
 * A data directory written out whole from a boot manifest and pages: what a compute without FUSE does, reduced to
 * its essence. For tests of what a pageserver says, with no compute in between.
 */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { bootFiles, type ControlSettings } from '../../lib/postgres/boot/boot-files.ts';
import { parseLsn } from '../../lib/postgres/lsn.ts';
import { postgres18 } from '../../lib/postgres/v18/wal.ts';
import { PAGE_SIZE, type BlobRange, type PageRun } from '../../lib/protocol/pages.ts';
import { FORK_NAMES, segmentName } from '../../lib/storage/key.ts';
import type { GroundTruthSubject } from './ground-truth.ts';

const BATCH_PAGES = 256;

/** `template` gives the configuration files. A new data directory at `directory`, of the template's owner. */
export async function materialize(
  subject: GroundTruthSubject,
  directory: string,
  options: { template: string; settings: ControlSettings; timeSeconds: number },
): Promise<void> {
  const { manifest, blobs } = subject;
  const blob = ([offset, length]: BlobRange): Uint8Array => blobs.subarray(offset, offset + length);
  mkdirSync(directory, { mode: 0o700 });
  for (const path of manifest.directories) {
    mkdirSync(join(directory, path), { recursive: true, mode: 0o700 });
  }
  for (const { path, content } of manifest.files) writeFileSync(join(directory, path), blob(content));
  for (const name of ['postgresql.conf', 'postgresql.auto.conf', 'pg_hba.conf', 'pg_ident.conf']) {
    copyFileSync(join(options.template, name), join(directory, name));
  }
  for (const [spcOid, dbOid, relNumber, fork, blocks] of manifest.relations) {
    const suffix = fork === 0 ? '' : `_${FORK_NAMES[fork]}`;
    const path = `${spcOid === 1664 ? 'global' : `base/${dbOid}`}/${relNumber}${suffix}`;
    const file = openSync(join(directory, path), 'w', 0o600);
    for (let block = 0; block < blocks; block += BATCH_PAGES) {
      const count = Math.min(BATCH_PAGES, blocks - block);
      await writePages(subject, { kind: 'relation', spcOid, dbOid, relNumber, fork, block, count }, file);
    }
    closeSync(file);
  }
  for (const { kind: slru, segment, blocks } of manifest.slrus) {
    const file = openSync(join(directory, slru, segmentName(segment)), 'w', 0o600);
    await writePages(subject, { kind: 'slru', slru, segment, block: 0, count: blocks }, file);
    closeSync(file);
  }
  const boot = bootFiles({
    facts: postgres18,
    lsn: parseLsn(manifest.lsn),
    previousLsn: parseLsn(manifest.previousLsn),
    systemIdentifier: BigInt(manifest.systemIdentifier),
    checkPoint: blob(manifest.checkPoint),
    controlFile: blob(manifest.controlFile),
    settings: options.settings,
    timeSeconds: options.timeSeconds,
  });
  for (const { path, size, pieces } of boot.files) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    const file = openSync(join(directory, path), 'w', 0o600);
    for (const { offset, bytes } of pieces) writeSync(file, bytes, 0, bytes.length, offset);
    closeSync(file);
    truncateSync(join(directory, path), size);
  }
  const { uid, gid } = statSync(options.template);
  spawnSync('chown', ['-R', `${uid}:${gid}`, directory]);
}

async function writePages(subject: GroundTruthSubject, run: PageRun, file: number): Promise<void> {
  const pages = await subject.pages([run]);
  for (const page of pages) {
    if (page === null) throw new Error(`a page of ${JSON.stringify(run)} is missing`);
  }
  writeSync(file, Buffer.concat(pages as Uint8Array[]), 0, run.count * PAGE_SIZE, run.block * PAGE_SIZE);
}
