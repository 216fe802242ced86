/**
 * From a specification to a Postgres that takes connections.
 *
 *   elect ───────────┐                         the log is recovered: it ends at L, durable at a quorum
 *   mount ───────────┼► manifest at L ► lay out ► Postgres starts ─┬► roles ► serve
 *   connect to pages ┘                                             └► proposer streams
 *
 * Nobody who only reads waits for the stream. A commit that comes before it waits in Postgres until its synchronous standby
 * has connected: from the first backend on, by the setting itself (SYNC_STANDBY_INIT in replication/syncrep.c).
 * What begins here ends here when a later step fails. Nothing of an earlier run is used: the disk is emptied.
 */
import { chownSync, mkdirSync, rmSync } from 'node:fs';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { bootFiles } from '../../../lib/postgres/boot/boot-files.ts';
import { formatLsn, parseLsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import { postgres18 } from '../../../lib/postgres/v18/wal.ts';
import { decodeRuns, type BlobRange, type PageRun } from '../../../lib/protocol/pages.ts';
import { HOST, type ComputeFailure } from '../../../lib/protocol/specs.ts';
import type { ComputeConfig } from '../config.ts';
import { prepareDataDirectory } from '../datadir/data-directory.ts';
import { PageClient, PageClientError } from '../datadir/page-client.ts';
import type { DataDirectory, LocalFile, Log } from '../datadir/types.ts';
import { chooseIdentity, type Identity } from '../postgres/identity.ts';
import type { OpenSocket } from '../outbound-socket.ts';
import { Postmaster } from '../postgres/postmaster.ts';
import { postgresProgram } from '../postgres/programs.ts';
import type { LogLine } from '../postgres/server-log.ts';
import {
  ADMIN_ROLE,
  hostBasedAuthentication,
  identityMap,
  postgresSettings,
  PROPOSER_SLOT,
  socketPath,
} from '../postgres/settings.ts';
import { Superuser } from '../postgres/superuser.ts';
import { ProposerError } from '../proposer/errors.ts';
import type { IngestLag } from '../proposer/ingest-lag.ts';
import type { Proposer } from '../proposer/proposer.ts';
import { applyRoles } from '../roles/apply.ts';
import { PhaseClock, type Span } from './phases.ts';

export interface BootDependencies {
  config: ComputeConfig;
  /** Not elected yet. */
  proposer: Proposer;
  lag: Pick<IngestLag, 'told' | 'lost'>;
  openSocket: OpenSocket;
  log: Log;
  onPostgresLog: (line: LogLine) => void;
  /** As Postmaster's. */
  onCancelledWait: (pid: number) => void;
}

export interface Booted {
  /** Where the durable log ended when this compute took over. */
  lsn: Lsn;
  directory: DataDirectory;
  postmaster: Postmaster;
  superuser: Superuser;
  pages: PageClient;
  /** Resolves when the proposer streams; rejects when it cannot: no commit would ever return. */
  streaming: Promise<void>;
  /** Steps that the roles and databases of the specification needed. */
  rolesApplied: string[];
  bootMs: Record<string, number>;
  /** The same as begins and ends since the process began. */
  bootSpans: () => Record<string, Span>;
}

/** Why a compute did not come up, as its Durable Object is told. */
export class BootError extends Error {
  override readonly name = 'BootError';
  readonly code: ComputeFailure['code'];
  constructor(code: ComputeFailure['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Throws BootError. The proposer is closed then. */
export async function boot(dependencies: BootDependencies): Promise<Booted> {
  const undo: (() => Promise<unknown>)[] = [];
  try {
    return await bootSteps(dependencies, undo);
  } catch (error) {
    for (const step of undo.toReversed())
      await step().catch((err: unknown) => dependencies.log.warn({ err }, 'undoing a failed boot'));
    throw asBootError(error);
  }
}

async function bootSteps(dependencies: BootDependencies, undo: (() => Promise<unknown>)[]): Promise<Booted> {
  const { config, proposer, lag, log } = dependencies;
  const { spec, folders } = config;
  const clock = new PhaseClock();
  undo.push(() => proposer.close());
  const pages = new PageClient({
    url: `ws://${HOST.pageserver}/pages`,
    connect: dependencies.openSocket,
    onIngested: (ingestedLsn) => lag.told(ingestedLsn),
    onLost: () => lag.lost(),
  });
  undo.push(() => Promise.resolve(pages.close()));
  pages.warmUp();
  const settings = postgresSettings(folders, spec.settings, memoryBytes());

  const over = whenOver(proposer);
  const election = clock.measure('elect', () => proposer.elect());
  election.catch(() => undefined); // awaited below; preparing may fail before
  const program = await postgresProgram();
  const identity = prepareFolders(config, program);
  const preparation = clock.measure('mount', () =>
    prepareDataDirectory({
      mode: config.dataDirectory,
      mountPoint: folders.mount,
      backingDir: folders.backing,
      uid: identity.uid,
      gid: identity.gid,
      log,
    }),
  );
  undo.push(async () => (await preparation).close());
  preparation.catch(() => undefined); // awaited below; the election may fail before

  const { startLsn: lsn } = await election;
  const { manifest, blobs } = await clock.measure('manifest', () => pages.boot(lsn));
  const prepared = await preparation;
  const blob = ([offset, length]: BlobRange): Uint8Array => blobs.subarray(offset, offset + length);
  const { files } = bootFiles({
    facts: postgres18,
    lsn,
    previousLsn: parseLsn(manifest.previousLsn),
    systemIdentifier: BigInt(spec.timeline.systemIdentifier),
    checkPoint: blob(manifest.checkPoint),
    controlFile: blob(manifest.controlFile),
    settings: settings.control,
    timeSeconds: Math.floor(Date.now() / 1000),
  });
  const directory = await clock.measure('layout', () =>
    prepared.open({
      manifest,
      blobs,
      pages,
      lsn,
      files: [...files, ...configurationFiles(settings.text, identity)],
      warmPages: readWarmPages(spec.warmPages, log),
      onProgress: (done, total) => log.info({ done, total }, 'filling the data directory'),
    }),
  );
  undo.push(() => directory.close());

  const postmaster = await clock.measure('postgres', async () => {
    const postmaster = await Postmaster.start({
      program,
      dataDirectory: directory.path,
      identity,
      onLog: dependencies.onPostgresLog,
      onCancelledWait: dependencies.onCancelledWait,
    });
    undo.push(() => postmaster.stop('immediate'));
    await Promise.race([postmaster.ready(), directory.failure]);
    return postmaster;
  });
  const superuser = new Superuser(socketPath(folders));
  undo.push(() => superuser.close());
  const streaming = clock.measure('stream', async () => {
    await superuser.createSlot(PROPOSER_SLOT);
    await proposer.startStreaming({ socketPath: socketPath(folders), user: ADMIN_ROLE, slot: PROPOSER_SLOT });
  });
  const cannotStream = streaming.then(() => new Promise<never>(() => undefined));
  cannotStream.catch(() => undefined); // of interest only to a boot that waits, and to Compute
  const rolesApplied = await clock.measure('roles', () =>
    Promise.race([applyRoles(superuser, spec), over, directory.failure, cannotStream]),
  );
  const bootMs = clock.read();
  log.info({ lsn: formatLsn(lsn), mode: directory.mode, bootMs, rolesApplied }, 'booted');
  const bootSpans = (): Record<string, Span> => clock.spans();
  return { lsn, directory, postmaster, superuser, pages, streaming, rolesApplied, bootMs, bootSpans };
}

/** Rejects when this proposer can commit nothing any more. Never resolves. */
function whenOver(proposer: Proposer): Promise<never> {
  const over = new Promise<never>((_, reject) => {
    proposer.once('superseded', (term) =>
      reject(new BootError('superseded', `superseded by term ${term} while booting`)),
    );
    proposer.once('failed', reject);
  });
  over.catch(() => undefined); // of interest only to a boot that waits
  return over;
}

/** Of the container where there is a limit, else of the machine. */
const memoryBytes = (): number => Math.min(totalmem(), process.constrainedMemory() || Infinity);

/** An empty disk, with a folder for the socket that only Postgres and this process may enter. */
function prepareFolders({ folders }: ComputeConfig, program: string): Identity {
  mkdirSync(folders.root, { recursive: true });
  const identity = chooseIdentity([program, join(folders.root, 'any')]);
  rmSync(folders.socket, { recursive: true, force: true });
  mkdirSync(folders.socket, { mode: 0o700 });
  chownSync(folders.socket, identity.uid, identity.gid);
  return identity;
}

function configurationFiles(settings: string, identity: Identity): LocalFile[] {
  const file = (path: string, text: string): LocalFile => ({
    path,
    pieces: [{ offset: 0, bytes: Buffer.from(text) }],
  });
  return [
    file('postgresql.conf', settings),
    file('postgresql.auto.conf', ''),
    file('pg_hba.conf', hostBasedAuthentication(identity)),
    file('pg_ident.conf', identityMap(identity)),
  ];
}

/** They only save time: what cannot be read is left out. */
function readWarmPages(base64: string | null, log: Log): PageRun[] {
  if (base64 === null) return [];
  try {
    return decodeRuns(Buffer.from(base64, 'base64'));
  } catch (err) {
    log.warn({ err }, 'the list of warm pages is malformed');
    return [];
  }
}

function asBootError(cause: unknown): BootError {
  if (cause instanceof BootError) return cause;
  const message = cause instanceof Error ? cause.message : String(cause);
  if (cause instanceof ProposerError && (cause.code === 'superseded' || cause.code === 'unavailable'))
    return new BootError(cause.code, message, { cause });
  const passing: readonly string[] = ['behind', 'stopping', 'deadline', 'overloaded'];
  if (cause instanceof PageClientError && passing.includes(cause.code))
    return new BootError('unavailable', message, { cause });
  return new BootError('failed', message, { cause });
}
