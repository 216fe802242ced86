/**
 * A whole Ebb for a test: the real `ebb start` in a temporary folder on free ports.
 *
 * It is started, stopped and killed as a person would: by its command and by signals. What a test asks besides
 * goes through its HTTP interface with its API key, or looks at its folder.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { GetObjectCommand, ListObjectsV2Command, NoSuchKey, S3Client } from '@aws-sdk/client-s3';
import { readWranglerConfig } from '../../local/edge/wrangler-config.ts';
import { PortPool } from '../../local/system/ports.ts';
import {
  belongingProcesses,
  endProcesses,
  listProcesses,
  type ProcessInfo,
} from '../../local/system/processes.ts';
import { unmountUnder } from '../../local/system/mounts.ts';

export interface EbbOptions {
  /** Seconds until an idle compute stops; 0 (the default) never. */
  suspendAfter?: number;
  /** Folder of the state; a temporary one, removed by stop(), when it is not given. */
  dir?: string;
  httpPort?: number;
  postgresPort?: number;
  /** Variables for it beside those of this process. */
  environment?: Readonly<Record<string, string>>;
}

/** What the tests use of the control plane's overview of the one project. */
export interface InspectedProject {
  project: { id: string };
  branch: { id: string; timeline_id: string };
  endpoint: { id: string };
  timeline: string;
}

const COMMAND = join(import.meta.dirname, '..', '..', 'local', 'bin', 'ebb.js');
const START_TIMEOUT_MS = 60_000;
const POLL_MS = 20;
const ports = new PortPool();

/** Starts an Ebb and resolves when it is ready. Rejects with what it said on stderr when it is not. */
export async function startEbb(options: EbbOptions = {}): Promise<Ebb> {
  const settled = {
    suspendAfter: options.suspendAfter ?? 0,
    dir: options.dir ?? mkdtempSync(join(tmpdir(), 'ebb-')),
    httpPort: options.httpPort ?? (await ports.take()),
    postgresPort: options.postgresPort ?? (await ports.take()),
    environment: options.environment ?? {},
  };
  const { child, ready } = await launch(settled);
  return new Ebb(child, ready, settled, options.dir === undefined);
}

interface Ready {
  postgres: string;
  http: string;
  apiKey: string;
  pid: number;
}

/** Runs `ebb` with `args`, unwatched: for tests of what it says. */
export function spawnEbb(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): ChildProcess {
  return spawn(process.execPath, [COMMAND, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
}

async function launch(options: Required<EbbOptions>): Promise<{ child: ChildProcess; ready: Ready }> {
  const child = spawnEbb(
    [
      'start',
      '--json',
      `--dir=${options.dir}`,
      `--port=${options.httpPort}`,
      `--pg-port=${options.postgresPort}`,
      `--suspend-after=${options.suspendAfter}`,
    ],
    options.environment,
  );
  let said = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    said += text;
    if (process.env.EBB_DBG) process.stderr.write(text);
  });
  const lines = createInterface({ input: child.stdout! });
  const timer = setTimeout(() => child.kill('SIGKILL'), START_TIMEOUT_MS);
  const [line] = await Promise.race([
    once(lines, 'line') as Promise<[string]>,
    once(child, 'exit').then(() => [null] as const),
  ]);
  clearTimeout(timer);
  if (line === null) throw new Error(`ebb start did not become ready (exit ${child.exitCode}):\n${said}`);
  return { child, ready: JSON.parse(line) as Ready };
}

export class Ebb {
  readonly #child: ChildProcess;
  readonly #options: Required<EbbOptions>;
  readonly #removeDir: boolean;
  /** As printed. */
  readonly postgresUrl: string;
  readonly httpUrl: string;
  readonly apiKey: string;
  readonly pid: number;
  readonly dir: string;

  constructor(child: ChildProcess, ready: Ready, options: Required<EbbOptions>, removeDir: boolean) {
    this.#child = child;
    this.#options = options;
    this.#removeDir = removeDir;
    this.postgresUrl = ready.postgres;
    this.httpUrl = ready.http;
    this.apiKey = ready.apiKey;
    this.pid = ready.pid;
    this.dir = options.dir;
  }

  /** As Ctrl-C does. Resolves with the exit code, and removes the folder if it was a temporary one. */
  async stop(): Promise<number | null> {
    const code = await this.interrupt();
    if (this.#removeDir) rmSync(this.dir, { recursive: true, force: true });
    return code;
  }

  /** As Ctrl-C does; the folder stays. */
  async interrupt(): Promise<number | null> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
      await this.#endAll();
      return this.#child.exitCode;
    }
    this.#child.kill('SIGINT');
    await once(this.#child, 'exit');
    return this.#child.exitCode;
  }

  /** `kill -9` of everything at once, and nothing else: what is left stays as it is. */
  kill9(): void {
    for (const { pid } of this.processes()) kill(pid);
  }

  /** Starts it again on the same folder and ports, after a kill or an interrupt. */
  async restart(): Promise<Ebb> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'exit');
    const { child, ready } = await launch(this.#options);
    return new Ebb(child, ready, this.#options, this.#removeDir);
  }

  /** Every living process of this Ebb, its own first. */
  processes(): ProcessInfo[] {
    const own = listProcesses().filter(({ pid, zombie }) => pid === this.pid && !zombie);
    const members = new Map(
      [...own, ...this.#descendants(), ...this.#marked()].map((info) => [info.pid, info]),
    );
    return [...members.values()];
  }

  /** Kills the containers, computes and pageserver alike, and waits until they are gone. */
  async stopContainers(): Promise<void> {
    const disks = join(this.dir, 'disks');
    const main = () =>
      listProcesses().filter(
        ({ pid, parent, zombie }) =>
          parent === this.pid && !zombie && environment(pid).EBB_DISK?.startsWith(disks),
      );
    await endProcesses(main);
    await this.waitFor(() => this.#containerProcesses().length === 0, 10_000, 'the containers to end');
  }

  /** Lets the containers end by themselves, computes before pageservers, as a project does that nobody uses. */
  async suspendContainers(kinds: readonly string[] = ['compute', 'pageserver']): Promise<void> {
    for (const kind of kinds) {
      const folder = join(this.dir, 'disks', `${kind}-`);
      const members = () =>
        listProcesses().filter(({ pid, zombie }) => !zombie && environment(pid).EBB_DISK?.startsWith(folder));
      for (const { pid, parent } of members()) if (parent === this.pid) process.kill(pid, 'SIGTERM');
      await this.waitFor(() => members().length === 0, 30_000, `every ${kind} to end`);
    }
  }

  /** Waits until `condition` holds; the error names what was waited for. */
  async waitFor(condition: () => unknown, timeoutMs: number, what: string): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!(await condition())) {
      if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`);
      await delay(POLL_MS);
    }
  }

  /** GET of a path below /inspect with the API key. */
  inspect(path: string): Promise<Response> {
    return this.#get(`/inspect${path}`);
  }

  /** The one project, its first branch, endpoint and timeline. */
  async inspectProject(): Promise<InspectedProject> {
    const { projects } = (await this.#json('/api/v2/projects')) as { projects: { id: string }[] };
    const overview = (await this.#json(`/inspect/projects/${projects[0].id}`)) as {
      project: { id: string };
      branches: { id: string; timeline_id: string }[];
      endpoints: { id: string }[];
    };
    const branch = overview.branches[0];
    return {
      project: overview.project,
      branch,
      endpoint: overview.endpoints[0],
      timeline: branch.timeline_id,
    };
  }

  /** The running compute's /status. */
  async computeStatus(): Promise<unknown> {
    const { project, endpoint } = await this.inspectProject();
    return this.#json(`/inspect/projects/${project.id}/endpoints/${endpoint.id}`);
  }

  /** An object of the bucket, as soon as it is there. */
  async waitForObject(key: string, timeoutMs: number): Promise<Buffer> {
    let found: Buffer | null = null;
    const look = async () => (found = await this.#object(key)) !== null;
    await this.waitFor(look, timeoutMs, `the object ${key}`);
    return found!;
  }

  /** Keys in the bucket that begin with `prefix`, a thousand at most. */
  async objects(prefix: string): Promise<string[]> {
    const { bucket, client } = this.#bucket();
    try {
      const listed = await client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix }));
      return (listed.Contents ?? []).map(({ Key }) => Key ?? '');
    } finally {
      client.destroy();
    }
  }

  async #object(key: string): Promise<Buffer | null> {
    const { bucket, client } = this.#bucket();
    try {
      const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
      return Buffer.from(await Body!.transformToByteArray());
    } catch (error) {
      if (error instanceof NoSuchKey) return null;
      throw error;
    } finally {
      client.destroy();
    }
  }

  #bucket(): { bucket: string; client: S3Client } {
    const bucket = readWranglerConfig().r2_buckets[0];
    const client = new S3Client({
      region: 'auto',
      endpoint: `${this.httpUrl}/cdn-cgi/local/r2/s3`,
      forcePathStyle: true,
      credentials: bucket.local_dev.experimental_s3_credentials,
    });
    return { bucket: bucket.bucket_name, client };
  }

  async #json(path: string): Promise<unknown> {
    const response = await this.#get(path);
    if (!response.ok) throw new Error(`GET ${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }
  #get(path: string): Promise<Response> {
    return fetch(this.httpUrl + path, { headers: { Authorization: `Bearer ${this.apiKey}` } });
  }

  #descendants(): ProcessInfo[] {
    const all = listProcesses().filter(({ zombie }) => !zombie);
    const tree = all.filter(({ pid }) => pid === this.pid);
    for (const { pid } of tree) tree.push(...all.filter(({ parent }) => parent === pid));
    return tree;
  }
  #containerProcesses(): ProcessInfo[] {
    const disks = join(this.dir, 'disks');
    return listProcesses().filter(
      ({ pid, zombie }) => !zombie && environment(pid).EBB_DISK?.startsWith(disks),
    );
  }
  /** Those that outlived their parent. */
  #marked(): ProcessInfo[] {
    const runtime = belongingProcesses({ marker: `EBB_STATE=${this.dir}`, disk: join(this.dir, 'disks') });
    return [...runtime, ...this.#containerProcesses()];
  }
  async #endAll(): Promise<void> {
    await endProcesses(() => this.processes());
    await unmountUnder(this.dir);
  }
}

function environment(pid: number): Record<string, string> {
  try {
    const text = readFileSync(`/proc/${pid}/environ`, 'utf8');
    return Object.fromEntries(
      text.split('\0').map((entry) => {
        const equals = entry.indexOf('=');
        return [entry.slice(0, equals), entry.slice(equals + 1)];
      }),
    );
  } catch {
    return {};
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
