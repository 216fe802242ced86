/**
 * The server's operations without a kernel: requests are made here as the kernel makes them, replies read as it reads
 * them. Pages come from a source in memory, and what is deferred is done as the server does it.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  ATTR_OUT_SIZE,
  Attributes,
  AttrOut,
  CreateIn,
  EntryOut,
  FallocateIn,
  ForgetIn,
  InHeader,
  OPERATION,
  OutHeader,
  ReadIn,
  Rename2In,
  SETATTR,
  SetattrIn,
  WriteIn,
  WriteOut,
} from '../../../../lib/fuse/protocol.ts';
import { lsn, type Lsn } from '../../../../lib/postgres/lsn.ts';
import { PAGE_SIZE, type BootManifest, type PageRun } from '../../../../lib/protocol/pages.ts';
import { FuseChannel } from '../../../../containers/compute/datadir/channel.ts';
import { FIRST_REMOTE, newInodeBuffers, ROOT } from '../../../../containers/compute/datadir/inode-records.ts';
import { Operations } from '../../../../containers/compute/datadir/operations.ts';
import { DEFERRED, NO_REPLY } from '../../../../containers/compute/datadir/request.ts';
import { PageFetcher } from '../../../../containers/compute/datadir/page-fetcher.ts';
import { RemoteFiles } from '../../../../containers/compute/datadir/remote-files.ts';
import type { PageSource } from '../../../../containers/compute/datadir/types.ts';
import { newTouched, Volume } from '../../../../containers/compute/datadir/volume.ts';

export const emptyManifest = (): BootManifest => ({
  lsn: '0/3000000',
  previousLsn: '0/0',
  systemIdentifier: '7000000000000000001',
  checkPoint: [0, 0],
  controlFile: [0, 0],
  files: [],
  directories: [],
  relations: [],
  slrus: [],
});

/** A page whose every byte tells which page it is. */
export function pageOf(run: PageRun, block: number): Uint8Array {
  const seed =
    run.kind === 'slru'
      ? 7 + run.segment * 31 + block
      : run.dbOid * 131 + run.relNumber * 17 + run.fork * 5 + block * 3;
  return new Uint8Array(PAGE_SIZE).fill((seed % 251) + 1);
}

/** Pages as `pageOf` says. Holds requests back while `held`. */
export class MemoryPages implements PageSource {
  readonly requests: PageRun[][] = [];
  fail: ((run: PageRun) => Error | undefined) | undefined;
  /** Pages that do not exist. */
  missing: (run: PageRun, block: number) => boolean = () => false;
  #gate: Promise<void> = Promise.resolve();

  /** Holds answers back until the returned function is called. */
  hold(): () => void {
    let release: () => void = () => undefined;
    this.#gate = new Promise((resolve) => (release = resolve));
    return release;
  }

  async getPages(_lsn: Lsn, runs: readonly PageRun[]): Promise<(Uint8Array | null)[]> {
    this.requests.push([...runs]);
    await this.#gate;
    const pages: (Uint8Array | null)[] = [];
    for (const run of runs) {
      const error = this.fail?.(run);
      if (error !== undefined) throw error;
      for (let block = run.block; block < run.block + run.count; block++)
        pages.push(this.missing(run, block) ? null : pageOf(run, block));
    }
    return pages;
  }
}

export interface Entry {
  id: number;
  size: number;
  mode: number;
  nlink: number;
}

/** A reply with an error, as the kernel would give it to a program. */
export class ErrnoReply extends Error {
  readonly errno: number;
  constructor(errno: number) {
    super(`errno ${errno}`);
    this.errno = errno;
  }
}

export class Harness {
  readonly root: string;
  readonly volume: Volume;
  readonly pages = new MemoryPages();
  readonly fetcher: PageFetcher;
  readonly operations: Operations;
  readonly #channel = new FuseChannel(-1, true);
  #unique = 2;

  constructor(manifest: BootManifest, options: { localInodes?: number; descriptorsMax?: number } = {}) {
    this.root = join(mkdtempSync(join(tmpdir(), 'ebb-datadir-')), 'pages');
    mkdirSync(this.root);
    const remote = RemoteFiles.build(manifest);
    this.volume = new Volume({
      root: this.root,
      uid: 1000,
      gid: 1000,
      bootTime: 1_700_000_000,
      remote: remote.buffers,
      inodes: newInodeBuffers(remote.count, options.localInodes ?? 1000, options.descriptorsMax ?? 100),
      touched: newTouched(),
    });
    this.volume.inodes.addRoot();
    this.fetcher = new PageFetcher(this.volume, this.pages, lsn(0x300_0000));
    this.operations = new Operations(this.volume, this.#channel);
  }

  close(): void {
    this.volume.inodes.descriptors.closeAll();
    rmSync(join(this.root, '..'), { recursive: true, force: true });
  }
  [Symbol.dispose](): void {
    this.close();
  }

  /** Does one request to the end; what follows the reply's header. Throws ErrnoReply. */
  async request(operation: number, nodeId: number, ...parts: Uint8Array[]): Promise<Uint8Array> {
    const body = Buffer.concat(parts);
    const unique = (this.#unique += 2);
    const header = InHeader.encode({ length: InHeader.size + body.length, operation, unique, nodeId });
    const send = (): number => {
      this.#channel.input.set(header);
      this.#channel.input.set(body, InHeader.size);
      return this.operations.handle(() => undefined);
    };
    let length = send();
    while (length === DEFERRED) {
      const { need } = this.operations;
      if (need === undefined) throw new Error('deferred to the main thread');
      await this.fetcher.ensure(need);
      length = send();
    }
    if (length === NO_REPLY) return new Uint8Array(0);
    const reply = OutHeader.decode(this.#channel.output);
    if (reply.unique !== unique) throw new Error(`reply to ${reply.unique}, ${unique} expected`);
    if (reply.error !== 0) throw new ErrnoReply(-reply.error);
    return this.#channel.output.slice(OutHeader.size, length);
  }

  /** null where there is no such name. */
  async lookup(parent: number, name: string): Promise<Entry | null> {
    const entry = decodeEntry(await this.request(OPERATION.LOOKUP, parent, cString(name)));
    return entry.id === 0 ? null : entry;
  }
  /** Looks a path up from the root. Throws where it leads to nothing. */
  async walk(path: string): Promise<Entry> {
    let entry: Entry | null = { id: ROOT, size: 0, mode: 0, nlink: 1 };
    for (const name of path.split('/')) {
      entry = await this.lookup(entry.id, name);
      if (entry === null) throw new Error(`no ${name} of ${path}`);
    }
    return entry;
  }
  async create(parent: number, name: string): Promise<Entry> {
    const body = CreateIn.encode({ mode: 0o100600, flags: 2 });
    return decodeEntry(await this.request(OPERATION.CREATE, parent, body, cString(name)));
  }
  unlink(parent: number, name: string): Promise<Uint8Array> {
    return this.request(OPERATION.UNLINK, parent, cString(name));
  }
  rename(parent: number, name: string, newParent: number, newName: string, flags = 0): Promise<Uint8Array> {
    const body = Rename2In.encode({ newParent, flags });
    return this.request(OPERATION.RENAME2, parent, body, cString(name), cString(newName));
  }
  forget(id: number, lookups: number): Promise<Uint8Array> {
    return this.request(OPERATION.FORGET, id, ForgetIn.encode({ lookups }));
  }
  read(id: number, offset: number, size: number): Promise<Uint8Array> {
    return this.request(OPERATION.READ, id, ReadIn.encode({ offset, size }));
  }
  async write(id: number, offset: number, data: Uint8Array): Promise<number> {
    const body = WriteIn.encode({ offset, size: data.length });
    return WriteOut.decode(await this.request(OPERATION.WRITE, id, body, data)).size;
  }
  async truncate(id: number, size: number): Promise<number> {
    return this.#attributes(
      await this.request(OPERATION.SETATTR, id, SetattrIn.encode({ valid: SETATTR.SIZE, size })),
    ).size;
  }
  async allocate(id: number, offset: number, length: number): Promise<void> {
    await this.request(OPERATION.FALLOCATE, id, FallocateIn.encode({ offset, length, mode: 0 }));
  }
  async attributes(id: number): Promise<{ size: number; nlink: number; mode: number }> {
    return this.#attributes(await this.request(OPERATION.GETATTR, id, new Uint8Array(16)));
  }
  #attributes(reply: Uint8Array): { size: number; nlink: number; mode: number } {
    if (reply.length !== ATTR_OUT_SIZE) throw new Error(`attributes of ${reply.length} bytes`);
    return Attributes.decode(reply, AttrOut.size);
  }
}

export const remoteId = (index: number): number => FIRST_REMOTE + index;
export const cString = (name: string): Uint8Array => Buffer.from(`${name}\0`, 'latin1');

function decodeEntry(reply: Uint8Array): Entry {
  const { size, mode, nlink } = Attributes.decode(reply, EntryOut.size);
  return { id: EntryOut.decode(reply).nodeId, size, mode, nlink };
}
