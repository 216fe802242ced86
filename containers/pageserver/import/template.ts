/**
 * Template import: a cleanly stopped data directory becomes the first values of a timeline, all at the LSN where
 * its WAL begins.
 *
 * Every page of the template is older than that LSN, since the template's own WAL ends before it; so redo accepts
 * every record that follows. The WAL itself is not imported: a clean stop leaves nothing in it that pages lack.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckPoint } from '../../../lib/postgres/checkpoint.ts';
import {
  DATABASE_STATE,
  decodeControlFile,
  encodeControlFile,
  type ControlFileFields,
} from '../../../lib/postgres/control-file.ts';
import { formatLsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import { PAGE_SIZE, SLRU_KINDS } from '../../../lib/protocol/pages.ts';
import {
  CHECKPOINT_KEY,
  CONTROL_FILE_KEY,
  databaseKey,
  FORK_NAMES,
  pageKeyOfSize,
  relationMapKey,
  relationSizeKey,
  slruSegmentKey,
  type Key,
} from '../../../lib/storage/key.ts';
import { DEFAULT_TABLESPACE, GLOBAL_TABLESPACE } from '../../../lib/storage/state/boot-manifest.ts';
import { imageValue, sizeValue, type Emit } from '../../../lib/storage/value.ts';

/** The folder is not a template that a timeline can start from. */
export class TemplateError extends Error {
  override readonly name = 'TemplateError';
}

export interface TemplateImport {
  /** PGDATA of a cleanly stopped Postgres. */
  directory: string;
  /** Where the timeline's WAL begins; beyond all WAL of the template. */
  startLsn: Lsn;
  /** The new cluster's own, in place of the template's. */
  systemIdentifier: bigint;
}

/** Emits every key of the template, each once, in no order. Throws TemplateError and what reading throws. */
export async function importTemplate(from: TemplateImport, emit: Emit): Promise<void> {
  const { directory } = from;
  importControl(from, await readFile(join(directory, 'global/pg_control')), emit);
  if ((await readdir(join(directory, 'pg_tblspc'))).length > 0) {
    throw new TemplateError(`${directory} has tablespaces: none can be kept`);
  }
  if ((await readdir(join(directory, 'pg_twophase'))).length > 0) {
    throw new TemplateError(`${directory} has prepared transactions: none expected`);
  }
  await importDatabase(join(directory, 'global'), GLOBAL_TABLESPACE, 0, emit);
  for (const name of await readdir(join(directory, 'base'))) {
    if (!/^[1-9][0-9]*$/.test(name)) continue; // pgsql_tmp
    emit(databaseKey(DEFAULT_TABLESPACE, Number(name)), imageValue(new Uint8Array(0)));
    await importDatabase(join(directory, 'base', name), DEFAULT_TABLESPACE, Number(name), emit);
  }
  for (const slru of SLRU_KINDS) {
    for (const name of await readdir(join(directory, slru))) {
      const content = await readFile(join(directory, slru, name));
      const pages = pagesOf(content, `${slru}/${name}`);
      const sizeKey = slruSegmentKey(slru, Number.parseInt(name, 16));
      emit(sizeKey, sizeValue(pages));
      emitPages(sizeKey, content, emit);
    }
  }
}

function importControl(from: TemplateImport, content: Uint8Array, emit: Emit): void {
  const control: ControlFileFields = decodeControlFile(content);
  if (control.state !== DATABASE_STATE.shutDown) {
    throw new TemplateError(`${from.directory} was not stopped cleanly: state ${control.state}, 1 expected`);
  }
  if (control.checkPoint >= from.startLsn) {
    const [found, limit] = [formatLsn(control.checkPoint), formatLsn(from.startLsn)];
    throw new TemplateError(
      `${from.directory} has its last checkpoint at ${found}: before ${limit} expected`,
    );
  }
  if (control.dataChecksumVersion !== 0) {
    throw new TemplateError(`${from.directory} has data checksums: redo does not compute them`);
  }
  const own = { ...control, systemIdentifier: from.systemIdentifier };
  emit(CONTROL_FILE_KEY, imageValue(encodeControlFile(own)));
  emit(CHECKPOINT_KEY, imageValue(CheckPoint.encode(control.checkPointCopy)));
}

/** `16384`, `16384_vm`, `16384_vm.1`: relation, fork, segment. */
const RELATION_FILE = /^([1-9][0-9]*)(?:_(fsm|vm|init))?(?:\.([1-9][0-9]*))?$/;

async function importDatabase(directory: string, spcOid: number, dbOid: number, emit: Emit): Promise<void> {
  emit(relationMapKey(spcOid, dbOid), imageValue(await readFile(join(directory, 'pg_filenode.map'))));
  for (const name of await readdir(directory)) {
    const match = RELATION_FILE.exec(name);
    if (match === null) continue;
    if (match[3] !== undefined)
      throw new TemplateError(`${directory}/${name}: no template has 1 GB relations`);
    const fork = FORK_NAMES.indexOf((match[2] ?? 'main') as (typeof FORK_NAMES)[number]);
    const content = await readFile(join(directory, name));
    const sizeKey = relationSizeKey({ spcOid, dbOid, relNumber: Number(match[1]), fork });
    emit(sizeKey, sizeValue(pagesOf(content, `${directory}/${name}`)));
    emitPages(sizeKey, content, emit);
  }
}

function pagesOf(content: Uint8Array, file: string): number {
  if (content.length % PAGE_SIZE !== 0) {
    throw new TemplateError(`${file} has ${content.length} bytes: not a multiple of ${PAGE_SIZE}`);
  }
  return content.length / PAGE_SIZE;
}

function emitPages(sizeKey: Key, content: Uint8Array, emit: Emit): void {
  for (let at = 0; at < content.length; at += PAGE_SIZE) {
    emit(pageKeyOfSize(sizeKey, at / PAGE_SIZE), imageValue(content.subarray(at, at + PAGE_SIZE)));
  }
}
