/**
 * The container engine of one machine: what a Docker engine is to workerd, with processes for containers.
 *
 * `ctx.container` of a Durable Object talks to a Docker engine on a unix socket (workerd, container-client.c++).
 * This one answers the dozen requests that workerd makes (api.ts), so the code of the Durable Objects is the
 * code that runs in production. An image is a program (images.ts); a container is a child process with a disk
 * folder and ports (container.ts) beside a networking sidecar (sidecar.ts).
 *
 *   folder/disks/<short name>/     gone with its container
 *   folder/logs/<short name>.log   kept
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { join, resolve } from 'node:path';
import { PortPool } from '../system/ports.ts';
import { handleApi } from './api.ts';
import { Container, endBelongings, type ContainerRequest } from './container.ts';
import { EngineError } from './errors.ts';
import { imageName, isSidecarImage, type Image, type Images } from './images.ts';
import { closeServer, trackConnections } from './net.ts';
import { Sidecar } from './sidecar.ts';

export interface EngineOptions {
  /** State folder; disks and logs lie in it. */
  folder: string;
  /** Path of the unix socket. Everyone who can open it can start the images: keep its folder private. */
  socket: string;
  images: Images;
}

/** A sidecar as the API sees it: a container without a process. */
export interface SidecarEntry {
  id: string;
  request: ContainerRequest;
  sidecar: Sidecar;
}

const STOP_GRACE_MS = 10_000;

export class Engine {
  readonly #disks: string;
  readonly #logs: string;
  readonly #socket: string;
  readonly #images: Images;
  readonly #ports = new PortPool();
  readonly #containers = new Map<string, Container>();
  readonly #sidecars = new Map<string, SidecarEntry>();
  readonly #server: Server;
  /** Removals that nobody may be waiting for. */
  readonly #removing = new Set<Promise<unknown>>();
  #closing = false;
  /** Should this process end without close(), at least the main processes go with it. */
  readonly #onProcessExit = () => {
    for (const container of this.containers) container.signal('SIGKILL');
  };

  private constructor(options: EngineOptions) {
    this.#disks = join(resolve(options.folder), 'disks');
    this.#logs = join(resolve(options.folder), 'logs');
    this.#socket = options.socket;
    this.#images = options.images;
    this.#server = createServer((request, response) => void handleApi(this, request, response));
    this.#server.requestTimeout = 0;
    trackConnections(this.#server);
  }

  /** Ends what an earlier engine left in the folder, then listens on the socket. */
  static async start(options: EngineOptions): Promise<Engine> {
    const engine = new Engine(options);
    await sweep(engine.#disks);
    await mkdir(engine.#logs, { recursive: true });
    await rm(options.socket, { force: true });
    await new Promise<void>((done, fail) => {
      engine.#server.once('error', fail);
      engine.#server.listen(options.socket, done);
    });
    process.once('exit', engine.#onProcessExit);
    return engine;
  }

  image(reference: string): Image {
    const image = this.#images[imageName(reference)];
    if (!image) throw new EngineError('no-such-image', `no such image: ${reference}`);
    return image;
  }

  /** Every container that is not removed, without sidecars. */
  get containers(): Container[] {
    return [...this.#containers.values()];
  }
  get sidecars(): SidecarEntry[] {
    return [...this.#sidecars.values()];
  }

  /** By id or name. Throws EngineError `no-such-container`. */
  find(key: string): Container | SidecarEntry {
    for (const entry of [...this.#containers.values(), ...this.#sidecars.values()]) {
      if (entry.id === key || entry.request.name === key) return entry;
    }
    throw new EngineError('no-such-container', `no such container: ${key}`);
  }

  /** Creates a container or, for the sidecar's image, a sidecar. Returns its id. */
  async create(request: ContainerRequest, command: readonly string[]): Promise<string> {
    if (this.#closing) throw new EngineError('closing', 'the engine is closing');
    await this.#takeName(request.name);
    const id = randomBytes(32).toString('hex');
    if (isSidecarImage(request.image)) this.#createSidecar(id, request, command);
    else await this.#createContainer(id, request);
    return id;
  }

  /**
   * Unlike Docker's, a container that has exited gives its name to the next: workerd would be told of the conflict,
   * remove it, and try again after 100 ms. Throws EngineError `conflict`.
   */
  async #takeName(name: string): Promise<void> {
    const holder = [...this.containers, ...this.sidecars].find((entry) => entry.request.name === name);
    if (holder === undefined) return;
    if (!(holder instanceof Container) || holder.state !== 'exited')
      throw new EngineError('conflict', `container name is in use: ${name}`);
    await this.remove(holder);
  }

  async remove(entry: Container | SidecarEntry): Promise<void> {
    if (entry instanceof Container) {
      await entry.remove();
      this.#containers.delete(entry.id);
      for (const port of entry.ports.values()) this.#ports.release(port);
    } else {
      entry.sidecar.stop();
      this.#sidecars.delete(entry.id);
    }
  }

  /**
   * Kills and removes everything: the runtime that owned it is gone. The next runtime finds no trace of it from
   * the moment of the call on, and may create new ones under the same names.
   */
  async destroyAll(): Promise<void> {
    const entries = [...this.containers, ...this.sidecars];
    this.#containers.clear();
    this.#sidecars.clear();
    const removing = Promise.all(entries.map((entry) => this.remove(entry)));
    this.#removing.add(removing);
    try {
      await removing;
    } finally {
      this.#removing.delete(removing);
    }
  }

  /** Lets every container end by itself for a while, then removes all; refuses new ones meanwhile. */
  async stopAll(graceMs: number = STOP_GRACE_MS): Promise<void> {
    this.#closing = true;
    await Promise.all(this.containers.map((container) => container.stop(graceMs)));
    await this.destroyAll();
  }

  /** Ends everything and stops listening. */
  async close(): Promise<void> {
    this.#closing = true;
    await this.destroyAll();
    await Promise.all(this.#removing);
    process.removeListener('exit', this.#onProcessExit);
    closeServer(this.#server);
    await rm(this.#socket, { force: true });
  }

  #createSidecar(id: string, request: ContainerRequest, command: readonly string[]): void {
    const egressPort = Number(command[command.indexOf('--http-egress-port') + 1]);
    const sidecar = new Sidecar({
      egressPort,
      resolvePort: async (port) => this.#behind(request.name)?.destination(port),
      onEgressPort: (port) => this.#behind(request.name)?.tellEgressPort(port),
    });
    this.#sidecars.set(id, { id, request, sidecar });
  }

  /** The container that shares the network of the sidecar with this name. */
  #behind(sidecarName: string): Container | undefined {
    return this.containers.find((container) => container.request.networkMode === `container:${sidecarName}`);
  }

  async #createContainer(id: string, request: ContainerRequest): Promise<void> {
    const image = this.image(request.image);
    const neighbour = this.sidecars.find(
      (entry) => request.networkMode === `container:${entry.request.name}`,
    );
    if (!neighbour?.sidecar.running) {
      throw new EngineError('failed', `no running sidecar for network ${request.networkMode || '(none)'}`);
    }
    const ports = new Map<number, number>();
    for (const port of image.ports) ports.set(port, await this.#ports.take());
    const kind = imageName(request.image);
    const shortName = `${kind}-${id.slice(0, 8)}`;
    const place = {
      id,
      shortName,
      disk: join(this.#disks, shortName),
      logFile: join(this.#logs, `${kind}-${logKey(request.name)}.log`),
      ports,
      proxyUrl: neighbour.sidecar.proxyUrl,
      egressPort: neighbour.sidecar.egressPort,
    };
    this.#containers.set(id, new Container(request, image, place));
  }
}

/** The part of a container's name that is its Durable Object's: its log goes on in one file. */
const logKey = (name: string): string => name.match(/[0-9a-f]{64}/)?.[0].slice(0, 8) ?? name;

/** Ends the containers whose disks lie in `disks`, and removes the disks. */
async function sweep(disks: string): Promise<void> {
  await mkdir(disks, { recursive: true, mode: 0o755 });
  for (const name of await readdir(disks)) {
    const disk = join(disks, name);
    await endBelongings(disk);
    await rm(disk, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }
}
