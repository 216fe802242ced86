/**
 * One container: a program with a disk, ports and a log of its own, as a child process.
 *
 *   created ──start──► running ──exit──► cleaning ──► exited ──remove──► removed
 *      └──────────────────────────remove (kills first)──────────────────────┘
 *
 * When the main process has ended, for whatever reason, everything that belonged to it is ended and unmounted
 * before anyone is told of the exit: whoever starts the next container finds nothing of this one in its way.
 * Unlike Docker, a failed container is not started again on its own: in production it is not either.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { constants } from 'node:os';
import { rm } from 'node:fs/promises';
import { isolated } from '../system/isolation.ts';
import { unmountUnder } from '../system/mounts.ts';
import { belongingProcesses, endProcesses, sendSignal, type Belonging } from '../system/processes.ts';
import { EngineError } from './errors.ts';
import { EGRESS_PORT } from './connect-answers.ts';
import { Handover } from './handover.ts';
import type { Image } from './images.ts';
import type { Destination } from './ingress.ts';
import { openLog } from './log-file.ts';

export type ContainerState = 'created' | 'running' | 'cleaning' | 'exited' | 'removed';

/** What Docker's create request says, as far as it means something here. */
export interface ContainerRequest {
  name: string;
  image: string;
  /** `NAME=value`. */
  env: readonly string[];
  labels: Readonly<Record<string, string>>;
  /** `container:OTHER` for one that shares the network of another (its sidecar). */
  networkMode: string;
}

export interface ContainerPlace {
  id: string;
  /** Short name for its disk and its log: image and a few letters of the id. */
  shortName: string;
  disk: string;
  logFile: string;
  /** Where the program shall listen instead of each of its image's ports. */
  ports: ReadonlyMap<number, number>;
  /** The forward proxy through which it reaches the outside. */
  proxyUrl: string;
  /** Of workerd, for programs that go there themselves. */
  egressPort: number;
}

/** The container's processes carry their disk in this variable, so that they are found whatever happens. */
const MARKER = 'EBB_DISK';
/** How long a connection waits for a program to listen. */
const LISTEN_WAIT_MS = 500;

export class Container {
  readonly id: string;
  readonly request: ContainerRequest;
  readonly #image: Image;
  readonly #place: ContainerPlace;
  #state: ContainerState = 'created';
  #process: ChildProcess | null = null;
  #handover: Handover | null = null;
  #exitCode = 0;
  readonly #exit = Promise.withResolvers<number>();

  constructor(request: ContainerRequest, image: Image, place: ContainerPlace) {
    this.id = place.id;
    this.request = request;
    this.#image = image;
    this.#place = place;
  }

  get state(): ContainerState {
    return this.#state;
  }
  get pid(): number {
    return this.#process?.pid ?? 0;
  }
  get exitCode(): number {
    return this.#exitCode;
  }
  get shortName(): string {
    return this.#place.shortName;
  }
  get ports(): ReadonlyMap<number, number> {
    return this.#place.ports;
  }

  /** Starts the program. Throws EngineError `conflict` unless it is new, `failed` when it cannot be run. */
  async start(): Promise<void> {
    if (this.#state !== 'created') throw new EngineError('conflict', `container is ${this.#state}`);
    this.#state = 'running';
    mkdirSync(this.#place.disk, { recursive: true, mode: 0o755 });
    const [program, ...args] = isolated(this.#image.command);
    const log = openLog(this.#place.logFile, `start ${this.id.slice(0, 12)}`);
    const child = spawn(program, args, {
      cwd: this.#place.disk,
      env: this.#environment(),
      stdio: ['ignore', log.fd, log.fd, ...(this.#image.takesConnections ? (['ipc'] as const) : [])],
      detached: true, // a session and group of its own: Ctrl-C in the terminal is not for containers
    });
    log.close();
    if (this.#image.takesConnections) this.#handover = new Handover(child);
    child.once('exit', (code, signal) => {
      void this.#exited(code ?? 128 + (signal ? constants.signals[signal] : 0));
    });
    try {
      await once(child, 'spawn');
    } catch (cause) {
      this.#state = 'exited';
      this.#exit.resolve(127);
      throw new EngineError('failed', `cannot run ${program}: ${String(cause)}`, cause);
    }
    this.#process = child;
  }

  /**
   * Its port `port`, in its own numbering; undefined when it has none such, or does not listen there. A program that
   * starts is waited for: workerd would ask again and again, at the cost of the processor that the start needs.
   */
  async destination(port: number): Promise<Destination | undefined> {
    const actual = this.#place.ports.get(port);
    if (actual === undefined || this.#state !== 'running') return undefined;
    if (!this.#image.takesConnections) return { port: actual };
    const handover = this.#handover;
    if (!handover || !(await handover.untilListening(actual, LISTEN_WAIT_MS))) return undefined;
    return { port: actual, give: (socket) => handover.give(actual, socket) };
  }

  /** workerd's egress listener has moved. */
  tellEgressPort(egressPort: number): void {
    this.#handover?.tellEgressPort(egressPort);
  }

  /** Sends a signal to the main process. False when it does not run. */
  signal(signal: NodeJS.Signals): boolean {
    if (this.#state !== 'running' || this.pid === 0) return false;
    return sendSignal(this.pid, signal);
  }

  /** Asks it to end, and after `graceMs` ends it. Resolves after its exit and clean-up. */
  async stop(graceMs: number): Promise<void> {
    if (this.#state !== 'running') return;
    this.signal('SIGTERM');
    const timer = setTimeout(() => this.signal('SIGKILL'), graceMs);
    await this.#exit.promise;
    clearTimeout(timer);
  }

  /** Resolves with the exit code once it has ended and nothing of it is left running. */
  exited(): Promise<number> {
    return this.#exit.promise;
  }

  /** Ends it if it runs, then removes its disk. Its log stays. */
  async remove(): Promise<void> {
    if (this.#state === 'removed') return;
    if (this.#state === 'running') this.signal('SIGKILL');
    if (this.#state === 'running' || this.#state === 'cleaning') await this.#exit.promise;
    this.#state = 'removed';
    // Never remove files through a mount: this throws when one stays.
    await unmountUnder(this.#place.disk);
    await rm(this.#place.disk, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }

  async #exited(code: number): Promise<void> {
    this.#state = 'cleaning';
    try {
      await endBelongings(this.#place.disk);
    } catch (error) {
      const log = openLog(this.#place.logFile, `clean-up failed: ${String(error)}`);
      log.close();
    }
    this.#exitCode = code;
    this.#state = 'exited';
    this.#exit.resolve(code);
  }

  #environment(): Record<string, string> {
    const { disk, ports, proxyUrl, egressPort } = this.#place;
    const given = this.request.env.map((entry): [string, string] => {
      const equals = entry.indexOf('=');
      return [entry.slice(0, equals), entry.slice(equals + 1)];
    });
    return {
      PATH: process.env.PATH ?? '/usr/local/bin:/usr/bin:/bin',
      LANG: 'C.UTF-8',
      HOME: disk,
      ...this.#image.env,
      ...Object.fromEntries(given),
      [MARKER]: disk,
      EBB_LISTEN: '127.0.0.1',
      ...Object.fromEntries([...ports].map(([port, actual]) => [`PORT_${port}`, String(actual)])),
      NODE_USE_ENV_PROXY: '1',
      HTTP_PROXY: proxyUrl,
      [EGRESS_PORT]: String(egressPort),
      NO_PROXY: '127.0.0.1,localhost,::1',
    };
  }
}

/** What tells the processes of the container with this disk from all others. */
export const belongingTo = (disk: string): Belonging => ({ marker: `${MARKER}=${disk}`, disk });

/** Ends every process of the container with this disk, and takes its mounts away. */
export async function endBelongings(disk: string): Promise<void> {
  await endProcesses(() => belongingProcesses(belongingTo(disk)));
  await unmountUnder(disk);
}
