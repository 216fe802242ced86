/**
 * One whole Ebb on this machine: `ebb start` without its words.
 *
 *   lock ─► end what was left ─► ports free? ─► template ─► engine ─► edge ─► first project
 *
 * Everything may be killed at any moment and anywhere between these steps. So nothing relies on having been
 * stopped well: a start ends every process and mount of this folder that still exists, and what must survive
 * (the Durable Objects' storage, the bucket) is durable by itself.
 */
import { existsSync, appendFileSync, renameSync, statSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { makeTemplate } from '../../containers/pageserver/template/make-template.ts';
import { templateLayerPath } from '../../containers/pageserver/template/paths.ts';
import type { Edge } from '../edge/edge.ts';
import { Engine } from '../engine/engine.ts';
import { unmountUnder } from '../system/mounts.ts';
import { whyNotFree } from '../system/ports.ts';
import { belongingProcesses, endProcesses } from '../system/processes.ts';
import { loadConfig, postgresUrl, saveConfig, type Connection, type InstanceConfig } from './config.ts';
import { ControlPlane } from './control-plane.ts';
import { prepareFolder, type InstanceFolder } from './folder.ts';
import { ebbImages } from './images.ts';
import { requirePrograms } from './programs.ts';
import { takeLock, type Lock } from './lock.ts';

export interface InstanceOptions {
  dir: string;
  httpPort: number;
  postgresPort: number;
  /** Idle seconds after which the first project's compute stops; 0 never; null as it was, 300 at first. */
  suspendAfterSeconds: number | null;
  /** Something that takes long begins. */
  progress(message: string): void;
}

export interface Instance {
  readonly postgresUrl: string;
  readonly httpUrl: string;
  readonly apiKey: string;
  /** Rejects when it cannot go on by itself. */
  readonly failed: Promise<never>;
  /** Lets the containers end well, then ends everything. No process, mount or port stays. */
  stop(): Promise<void>;
}

export const DEFAULT_SUSPEND_SECONDS = 300;
/** How long containers may take to end by themselves before they are killed. */
const STOP_GRACE_MS = 5000;
/** Environment variable of a runtime: the folder whose Durable Objects it runs. */
export const RUNTIME_MARKER = 'EBB_STATE';
const PORT_PATIENCE_MS = 3000;
const PORT_POLL_MS = 20;
/** What listen() says of ::1 on a machine without IPv6. */
const NO_SUCH_ADDRESS = new Set(['EADDRNOTAVAIL', 'EAFNOSUPPORT']);
const EDGE_LOG_BYTES_MAX = 16 << 20;

/** A port that something else listens on, or that may not be listened on. */
export class PortError extends Error {
  override readonly name = 'PortError';
  constructor(port: number, option: string, code: string) {
    super(
      code === 'EADDRINUSE'
        ? `port ${port} is taken by another program; choose another with ${option}`
        : `port ${port} cannot be listened on (${code}); choose another with ${option}`,
    );
  }
}

/** Starts everything, or leaves nothing running and throws. */
export async function startInstance(options: InstanceOptions): Promise<Instance> {
  const folder = prepareFolder(options.dir);
  const undo: (() => Promise<void> | void)[] = [];
  const unwind = async () => {
    for (const step of undo.toReversed()) await step();
  };
  try {
    const lock = takeLock(folder.lock, options);
    undo.push(() => lock.release());
    await endLeftOvers(folder);
    // A process that was killed a moment ago holds its ports until its last thread has ended.
    const patienceMs = lock.wasLeft ? PORT_PATIENCE_MS : 0;
    await requireFree(options.httpPort, '--port', patienceMs);
    await requireFree(options.postgresPort, '--pg-port', patienceMs);
    const config = loadConfig(folder.config);
    const [programs] = await Promise.all([
      requirePrograms(),
      requireTemplate(folder.template, options.progress),
    ]);
    const engine = await Engine.start({
      folder: folder.root,
      socket: folder.engineSocket,
      images: ebbImages(programs, folder.template),
    });
    undo.push(() => engine.close());
    const edge = await startEdgeOf(folder, config, engine, lock, options);
    undo.push(() => edge.close());
    undo.push(() => engine.stopAll(STOP_GRACE_MS));
    const connection = await firstProject(folder, config, edge, options);
    return {
      postgresUrl: postgresUrl(connection, options.postgresPort),
      httpUrl: edge.httpUrl,
      apiKey: config.apiKey,
      failed: Promise.race([edge.failed, lock.lost]),
      stop: unwind,
    };
  } catch (error) {
    await unwind();
    throw error;
  }
}

/**
 * Ends what an Ebb that was killed left in the folder: first the runtime, which would start containers again.
 * Libraries put their temporary files into the folder from here on, so that none outlives the next start.
 */
export async function endLeftOvers(folder: InstanceFolder): Promise<void> {
  const runtime = { marker: `${RUNTIME_MARKER}=${folder.root}`, disk: folder.run };
  await endProcesses(() => belongingProcesses(runtime));
  await unmountUnder(folder.root);
  // A killed process may still be writing its last.
  await rm(folder.temporary, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  await mkdir(folder.temporary);
  process.env.TMPDIR = folder.temporary;
}

/**
 * Throws PortError, which names `option` as the way to choose another, when the port stays taken for
 * `patienceMs`. Clients try `localhost` as ::1 first, so a stranger there would get what is meant for us: the
 * port must be free on both.
 */
export async function requireFree(port: number, option: string, patienceMs: number): Promise<void> {
  const deadline = performance.now() + patienceMs;
  for (const host of ['127.0.0.1', '::1']) {
    for (;;) {
      const code = await whyNotFree(port, host);
      if (code === null || NO_SUCH_ADDRESS.has(code)) break;
      if (performance.now() >= deadline) throw new PortError(port, option, code);
      await delay(PORT_POLL_MS);
    }
  }
}

/** Makes the initdb template `template`, and its layer, unless they are there. */
export async function requireTemplate(template: string, progress: (message: string) => void): Promise<void> {
  if (!existsSync(template)) {
    progress('First start: making the template of all databases (initdb, a few seconds) …');
    await makeTemplate(template);
  }
  if (existsSync(templateLayerPath(template))) return;
  const { makeTemplateLayer } = await import('../../containers/pageserver/template/template-layer.ts');
  await makeTemplateLayer(template);
}

async function startEdgeOf(
  folder: InstanceFolder,
  config: InstanceConfig,
  engine: Engine,
  lock: Lock,
  options: InstanceOptions,
): Promise<Edge> {
  // Loaded here only: it is large, and a start that is refused should say so at once.
  const { startEdge } = await import('../edge/edge.ts');
  const log = edgeLog(folder.edgeLog);
  return startEdge({
    httpPort: options.httpPort,
    postgresPort: options.postgresPort,
    engineSocket: folder.engineSocket,
    stateFolder: folder.state,
    secrets: { API_KEY: config.apiKey, MOCK_AUTHENTICATION_SECRET: config.mockAuthenticationSecret },
    suspendAfterSeconds: options.suspendAfterSeconds ?? DEFAULT_SUSPEND_SECONDS,
    runtimeMarker: { name: RUNTIME_MARKER, value: folder.root },
    log,
    onRuntimeExit: () => {
      engine.destroyAll().catch((error: unknown) => log(`clean-up: ${String(error)}`));
      return lock.isHeld() ? null : new Error(`${folder.root} is no longer this Ebb's`);
    },
  });
}

/** Appends lines to a file; starts a new one when it has grown large. */
function edgeLog(path: string): (message: string) => void {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size > EDGE_LOG_BYTES_MAX) renameSync(path, `${path}.1`);
  return (message) => appendFileSync(path, `${new Date().toISOString()} ${message}\n`, { mode: 0o600 });
}

async function firstProject(
  folder: InstanceFolder,
  config: InstanceConfig,
  edge: Edge,
  options: InstanceOptions,
): Promise<Connection> {
  const controlPlane = new ControlPlane(edge.httpUrl, config.apiKey);
  const connection = await requireFirstProject(controlPlane, config, folder.config);
  // A new project has the setting already, by the binding; an old one is told.
  if (connection === config.connection && options.suspendAfterSeconds !== null) {
    await controlPlane.setSuspendTimeout(
      connection.projectId,
      connection.endpointId,
      options.suspendAfterSeconds,
    );
  }
  return connection;
}

/**
 * The connection to the first project, which is made when there is none. When there is one whose password is not
 * known (the kill came between making it and saving this), its owner gets a new one.
 */
export async function requireFirstProject(
  controlPlane: ControlPlane,
  config: InstanceConfig,
  configPath: string,
): Promise<Connection> {
  const projects = await controlPlane.projects();
  if (config.connection && projects.includes(config.connection.projectId)) return config.connection;
  const [existing] = projects;
  const connection = existing
    ? await controlPlane.resetConnection(existing)
    : await controlPlane.createProject();
  saveConfig(configPath, { ...config, connection });
  return connection;
}
