/** The data directory through the kernel's FUSE, without Postgres. Skipped, with the reason, where it cannot be mounted. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { open, readdir, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { openDataDirectory } from '../../../../containers/compute/datadir/data-directory.ts';
import { cleanUpMount, mountAt, parseMountInfo } from '../../../../containers/compute/datadir/mount.ts';
import type { DataDirectory } from '../../../../containers/compute/datadir/types.ts';
import { lsn } from '../../../../lib/postgres/lsn.ts';
import { PAGE_SIZE, type BootManifest, type PageRun } from '../../../../lib/protocol/pages.ts';
import { fuseMissing } from './fuse-available.ts';
import { emptyManifest, MemoryPages, pageOf } from './harness.ts';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'ebb-fuse-'));
});
afterEach(async () => {
  await cleanUpMount(join(home, 'mount'));
  rmSync(home, { recursive: true, force: true });
});

async function serve(
  part: Partial<BootManifest>,
): Promise<{ directory: DataDirectory; pages: MemoryPages; base: string }> {
  const pages = new MemoryPages();
  const silent = (): void => undefined;
  const directory = await openDataDirectory({
    mode: 'fuse',
    mountPoint: join(home, 'mount'),
    backingDir: join(home, 'backing'),
    uid: 0,
    gid: 0,
    log: { info: silent, warn: silent, error: silent },
    manifest: { ...emptyManifest(), ...part },
    blobs: new Uint8Array(0),
    pages,
    lsn: lsn(0x300_0000),
    files: [],
  });
  onTestFinished(() => directory.close());
  return { directory, pages, base: join(directory.path, 'base/5') };
}
const run = (rel: number): PageRun => ({
  kind: 'relation',
  spcOid: 1663,
  dbOid: 5,
  relNumber: rel,
  fork: 0,
  block: 0,
  count: 1,
});
const original = (rel: number, blocks: number): Buffer =>
  Buffer.concat(Array.from({ length: blocks }, (_, block) => pageOf(run(rel), block)));

describe.skipIf(fuseMissing)(`through the kernel${fuseMissing ? `: ${fuseMissing}` : ''}`, () => {
  test('ten thousand relations: listed and counted without fetching or making one', async () => {
    const relations: BootManifest['relations'] = [];
    for (let rel = 1; rel <= 10_000; rel++) relations.push([1663, 5, rel, 0, 10], [1663, 5, rel, 1, 3]);
    const { base, pages } = await serve({ relations });
    const names = await readdir(base);
    expect(names).toHaveLength(20_000);
    expect(new Set(names).size).toBe(20_000);
    expect((await stat(join(base, '777'))).size).toBe(10 * PAGE_SIZE);
    expect((await readdir(join(home, 'backing/pages/base/5'))).length).toBe(0);
    expect(pages.requests).toEqual([]);
  });

  test('a sequential read is read ahead in runs of blocks', async () => {
    const { base, pages } = await serve({ relations: [[1663, 5, 100, 0, 512]] });
    expect(Buffer.compare(await readFile(join(base, '100')), original(100, 512))).toBe(0);
    expect(pages.requests.length).toBeLessThan(80);
    const blocks = pages.requests.flat().reduce((sum, request) => sum + request.count, 0);
    expect(blocks).toBe(512); // each once
  });

  test('truncating on opening, extending beyond the end, and a hole in between', async () => {
    const { base, pages } = await serve({ relations: [[1663, 5, 100, 0, 8]] });
    const path = join(base, '100');
    await writeFile(path, 'new');
    expect((await readFile(path)).toString()).toBe('new');
    const file = await open(path, 'r+');
    await file.write(Buffer.from('end'), 0, 3, 3 * PAGE_SIZE);
    await file.close();
    const expected = Buffer.alloc(3 * PAGE_SIZE + 3);
    expected.write('new', 0);
    expected.write('end', 3 * PAGE_SIZE);
    expect(Buffer.compare(await readFile(path), expected)).toBe(0);
    expect(pages.requests).toEqual([]);
  });

  test('what was unlinked while open can still be read', async () => {
    const { base } = await serve({
      relations: [
        [1663, 5, 100, 0, 8],
        [1663, 5, 101, 0, 8],
      ],
    });
    const before = await open(join(base, '100'), 'r'); // opened, never read
    const touched = await open(join(base, '101'), 'r');
    const first = Buffer.alloc(PAGE_SIZE);
    await touched.read(first, 0, PAGE_SIZE, 0);
    await rm(join(base, '100'));
    await rm(join(base, '101'));
    expect(await readdir(base)).toEqual([]);
    expect(Buffer.compare(await before.readFile(), original(100, 8))).toBe(0);
    expect(Buffer.compare(await touched.readFile(), original(101, 8))).toBe(0);
    await before.close();
    await touched.close();
  });

  test('a page that cannot be had is EIO', async () => {
    const { base, pages } = await serve({ relations: [[1663, 5, 100, 0, 8]] });
    pages.fail = () => new Error('no');
    await expect(readFile(join(base, '100'))).rejects.toMatchObject({ code: 'EIO' });
    pages.fail = undefined;
    expect(Buffer.compare(await readFile(join(base, '100')), original(100, 8))).toBe(0);
  });

  test('a reader that gets a signal while its page is fetched reads on', async () => {
    const { base, pages, directory } = await serve({ relations: [[1663, 5, 100, 0, 1]] });
    const release = pages.hold();
    // Past the page cache, where the reader itself waits for the reply; the kernel then sends INTERRUPT.
    const reader = spawn('dd', [`if=${join(base, '100')}`, 'bs=8192', 'iflag=direct'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const chunks: Buffer[] = [];
    reader.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    await vi.waitUntil(() => pages.requests.length > 0);
    reader.kill('SIGUSR1'); // dd prints how far it is, and goes on
    await vi.waitUntil(() => directory.operations()['INTERRUPT'] === 1);
    release();
    await once(reader, 'close');
    expect(reader.exitCode).toBe(0);
    expect(Buffer.compare(Buffer.concat(chunks), original(100, 1))).toBe(0);
  });

  test('whatever is done to the files, they read as plain files do', async () => {
    const BLOCKS = 40;
    const { base, directory } = await serve({
      relations: Array.from({ length: 60 }, (_, i) => [1663, 5, 100 + i, 0, BLOCKS]),
    });
    const edge = fc
      .tuple(fc.nat({ max: BLOCKS + 2 }), fc.constantFrom(0, 0, 0, 4096, 1, 8191))
      .map(([block, rest]) => block * PAGE_SIZE + rest);
    const length = fc.constantFrom(1, 4096, 8192, 65_536, 200_000);
    const step = fc.record({
      kind: fc.constantFrom('read', 'read', 'write', 'write', 'truncate', 'rename', 'replace'),
      offset: edge,
      length,
      byte: fc.integer({ min: 1, max: 255 }),
    });
    let rel = 100;
    const all: { name: string; bytes: Buffer }[] = [];
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 25 }), async (steps) => {
        let path = join(base, String(rel));
        let bytes: Buffer = original(rel++, BLOCKS);
        const resize = (size: number): Buffer => {
          const next = Buffer.alloc(size);
          bytes.copy(next);
          return next;
        };
        let file = await open(path, 'r+');
        for (const now of steps) {
          if (now.kind === 'read') {
            const { bytesRead, buffer } = await file.read(
              Buffer.alloc(now.length),
              0,
              now.length,
              now.offset,
            );
            const expected = bytes.subarray(now.offset, now.offset + now.length);
            expect(Buffer.compare(buffer.subarray(0, bytesRead), expected)).toBe(0);
          } else if (now.kind === 'write') {
            await file.write(Buffer.alloc(now.length, now.byte), 0, now.length, now.offset);
            bytes = resize(Math.max(bytes.length, now.offset + now.length));
            bytes.fill(now.byte, now.offset, now.offset + now.length);
          } else if (now.kind === 'truncate') {
            await truncate(path, now.offset);
            bytes = resize(now.offset);
          } else if (now.kind === 'rename') {
            await rename(path, `${path}x`);
            path = `${path}x`;
          } else {
            await rm(path);
            await file.close();
            file = await open(path, 'wx+');
            bytes = Buffer.alloc(0);
          }
        }
        await file.close();
        expect(Buffer.compare(await readFile(path), bytes)).toBe(0);
        all.push({ name: path.slice(base.length), bytes });
      }),
      { numRuns: 50 },
    );
    // What the kernel held back comes to the backing files, and nothing else.
    for (const { name } of all) {
      const file = await open(join(base, name), 'r+');
      await file.sync();
      await file.close();
    }
    await directory.close();
    for (const { name, bytes } of all) {
      const kept = await readFile(join(home, 'backing/pages/base/5', name));
      expect([name, Buffer.compare(kept, bytes)]).toEqual([name, 0]);
    }
  });

  async function startServer(
    what: string,
    mode = 'fuse',
    wrap: string[] = [],
  ): Promise<[ChildProcess, unknown]> {
    const argv = [...wrap, process.execPath, join(import.meta.dirname, 'serve.ts'), mode, home, what];
    const child = spawn(argv[0], argv.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
    onTestFinished(() => void child.kill('SIGKILL'));
    const [line] = (await once(createInterface(child.stdout as NodeJS.ReadableStream), 'line')) as [string];
    return [child, JSON.parse(line)];
  }
  const served = { mode: 'fuse', bytes: 64 * PAGE_SIZE, first: pageOf(run(100), 0)[0] };

  test('a server that was killed leaves a mount, which is cleaned up, and served again', async () => {
    const mount = join(home, 'mount');
    for (let round = 0; round < 2; round++) {
      const [child, said] = await startServer('wait');
      expect(said).toEqual(served);
      child.kill('SIGKILL');
      await once(child, 'exit');
      expect(mountAt(mount)).toMatchObject({ path: mount, type: 'fuse' });
    }
    await cleanUpMount(mount);
    expect(mountAt(mount)).toBeUndefined();
    expect(await readdir(mount)).toEqual([]);
    await cleanUpMount(mount); // nothing there: nothing to do
  });

  test('a process that exits without closing leaves no mount', async () => {
    const [child, said] = await startServer('exit');
    expect(said).toEqual(served);
    if (child.exitCode === null) await once(child, 'exit');
    expect(child.exitCode).toBe(7);
    expect(mountAt(join(home, 'mount'))).toBeUndefined();
  });

  test('root of a user namespace mounts too', async () => {
    const allowed = spawnSync('unshare', ['--map-root-user', '--mount', 'true']).status === 0;
    if (!allowed) return;
    const [child, said] = await startServer('close', 'auto', ['unshare', '--map-root-user', '--mount']);
    expect(said).toEqual(served);
    if (child.exitCode === null) await once(child, 'exit');
    expect(child.exitCode).toBe(0);
  });

  test('where nothing can be mounted, auto is a plain folder', async () => {
    const wrap = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];
    if (spawnSync(wrap[0], [...wrap.slice(1), process.execPath, '--version']).status !== 0) return;
    spawnSync('chown', ['65534:65534', home]);
    const [child, said] = await startServer('close', 'auto', wrap);
    expect(said).toEqual({ ...served, mode: 'plain' });
    if (child.exitCode === null) await once(child, 'exit');
    expect(existsSync(join(home, 'backing/data/base/5/100'))).toBe(true);
  });
});

describe('mountinfo', () => {
  test('is parsed with its octal escapes and optional fields', () => {
    const text = [
      '22 1 0:20 / /proc rw,nosuid shared:5 - proc proc rw',
      String.raw`36 22 0:57 / /tmp/a\040b rw,nosuid,nodev - fuse ebb rw,user_id=0`,
      '37 22 0:58 / /x rw shared:1 master:2 - fuse.other o rw',
      '',
    ].join('\n');
    expect(parseMountInfo(text)).toEqual([
      { device: '0:20', path: '/proc', type: 'proc' },
      { device: '0:57', path: '/tmp/a b', type: 'fuse' },
      { device: '0:58', path: '/x', type: 'fuse.other' },
    ]);
  });
  test('never fails on other text', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        parseMountInfo(text);
        parseMountInfo(`1 2 3 4 ${text} 6 - ${text}`);
      }),
    );
  });
});
