/**
 * The edge on one machine: the real workerd with real Durable Objects on SQLite and the R2 emulation.
 *
 * Miniflare keeps workerd running: when it dies it is started again on the same ports and the same state. What
 * Miniflare does not know is that the containers of the dead runtime are of no use to the new one (their Durable
 * Objects' memory is gone, and their connections with it): `onRuntimeExit` lets the engine end them first.
 */
import { setImmediate } from 'node:timers/promises';
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from 'miniflare';
import { bundleWorker } from './bundle.ts';
import { observeRuntimeExit } from './runtime-process.ts';
import { imageOfClass, readWranglerConfig, type WranglerConfig } from './wrangler-config.ts';

export interface EdgeOptions {
  /** Port of HTTP and WebSocket on 127.0.0.1. */
  httpPort: number;
  /** Port of Postgres's protocol on 127.0.0.1. */
  postgresPort: number;
  /** Path of the container engine's unix socket. */
  engineSocket: string;
  /** Folder of the Durable Objects' SQLite files and the bucket. */
  stateFolder: string;
  /** Text bindings that wrangler.toml calls secrets, without those of the local bucket. */
  secrets: { API_KEY: string; MOCK_AUTHENTICATION_SECRET: string };
  suspendAfterSeconds: number;
  /** `NAME=value` in workerd's environment, by which the next start finds one that was left behind. */
  runtimeMarker: { name: string; value: string };
  log(message: string): void;
  /** workerd has died by itself, and the next one has not begun yet. An error is why none shall. */
  onRuntimeExit(): Error | null;
}

export interface Edge {
  readonly httpUrl: string;
  /** Rejects when workerd died and could not be started again. */
  readonly failed: Promise<never>;
  close(): Promise<void>;
}

/** Path under the local HTTP port where the R2 emulation speaks S3. */
const LOCAL_S3_PATH = '/cdn-cgi/local/r2/s3';
const HOST = '127.0.0.1';

/** workerd can be killed while it starts, and again: how often it is tried before Ebb gives up. */
const RESTART_ATTEMPTS_MAX = 5;

/** Resolves when the Worker answers. Rejects, with nothing left running, when workerd does not start. */
export async function startEdge(options: EdgeOptions): Promise<Edge> {
  quietMiniflare();
  const config = readWranglerConfig();
  const settings = miniflareOptions(options, config, await bundleWorker(config.main));
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => undefined);
  let miniflare: Miniflare | undefined;
  let phase: 'starting' | 'running' | 'recovering' | 'closing' = 'starting';

  const unobserve = observeRuntimeExit(() => {
    if (phase === 'closing') return;
    const reason = options.onRuntimeExit();
    if (reason) {
      failed.reject(reason);
      void close();
    } else if (phase === 'running' && miniflare) {
      phase = 'recovering';
      void recover(miniflare, settings).then(
        () => {
          if (phase === 'recovering') phase = 'running';
        },
        (error: unknown) => failed.reject(error),
      );
    }
  });
  const close = async () => {
    phase = 'closing';
    unobserve();
    await miniflare?.dispose();
  };
  try {
    miniflare = withoutSignalHandlers(() => new Miniflare(settings));
    await miniflare.ready;
    phase = 'running';
  } catch (error) {
    await close().catch(() => undefined);
    throw error;
  }
  return { httpUrl: `http://${HOST}:${options.httpPort}`, failed: failed.promise, close };
}

/** Waits for the restart that Miniflare begins after an exit, and begins others when it fails. */
async function recover(
  miniflare: Miniflare,
  settings: ConstructorParameters<typeof Miniflare>[0],
): Promise<void> {
  await setImmediate(); // Miniflare, told of the exit after us, begins
  for (let attempt = 1; ; attempt++) {
    try {
      await (attempt === 1 ? miniflare.ready : miniflare.setOptions(settings));
      return;
    } catch (error) {
      if (attempt === RESTART_ATTEMPTS_MAX) throw error;
    }
  }
}

function miniflareOptions(options: EdgeOptions, config: WranglerConfig, script: string) {
  return {
    ...convertV4MiniflareOptions({
      host: HOST,
      port: options.httpPort,
      cf: false,
      log: new EdgeLog(options.log),
      handleStructuredLogs: ({ level, message }) => options.log(`${level}: ${message}`),
      containerEngine: { localDocker: { socketPath: `unix://${options.engineSocket}` } },
      name: config.name,
      modules: [{ type: 'ESModule', path: 'edge.mjs', contents: script }],
      compatibilityDate: config.compatibility_date,
      compatibilityFlags: config.compatibility_flags,
      connectHandlers: [{ protocol: 'tcp', port: options.postgresPort, address: HOST }],
      ...resources(config),
      bindings: textBindings(options, config),
    }),
    resourcePersistencePath: options.stateFolder,
    unsafeRuntimeEnv: { [options.runtimeMarker.name]: options.runtimeMarker.value },
  };
}

function resources(config: WranglerConfig) {
  const sqlite = new Set(config.migrations.flatMap((migration) => migration.new_sqlite_classes));
  const contained = new Set(config.containers.map((container) => container.class_name));
  return {
    durableObjects: Object.fromEntries(
      config.durable_objects.bindings.map(({ name, class_name: className }) => [
        name,
        {
          className,
          useSQLite: sqlite.has(className),
          ...(contained.has(className) ? { container: { imageName: imageOfClass(className) } } : {}),
        },
      ]),
    ),
    r2Buckets: Object.fromEntries(
      config.r2_buckets.map((bucket) => [
        bucket.binding,
        { id: bucket.bucket_name, s3Credentials: bucket.local_dev.experimental_s3_credentials },
      ]),
    ),
  };
}

function textBindings(options: EdgeOptions, config: WranglerConfig): Record<string, string> {
  const [bucket] = config.r2_buckets;
  if (!bucket) throw new Error('wrangler.toml names no bucket');
  const { accessKeyId, secretAccessKey } = bucket.local_dev.experimental_s3_credentials;
  const secrets: Record<string, string> = {
    ...options.secrets,
    S3_ENDPOINT: `http://${HOST}:${options.httpPort}${LOCAL_S3_PATH}`,
    S3_ACCESS_KEY_ID: accessKeyId,
    S3_SECRET_ACCESS_KEY: secretAccessKey,
  };
  const missing = config.secrets.required.filter((name) => !(name in secrets));
  if (missing.length > 0)
    throw new Error(`wrangler.toml wants secrets that ebb does not set: ${missing.join(', ')}`);
  return {
    ...config.vars,
    ...secrets,
    SUSPEND_AFTER_SECONDS: String(options.suspendAfterSeconds),
    POSTGRES_HOST: `localhost:${options.postgresPort}`,
  };
}

/** Miniflare's own messages go where ours go. */
class EdgeLog extends Log {
  readonly #write: (message: string) => void;
  constructor(write: (message: string) => void) {
    super(LogLevel.WARN);
    this.#write = write;
  }
  protected override log(message: string): void {
    this.#write(message);
  }
}

/** Miniflare ends the process on a signal; here it is for the caller to say what is to be ended, and in which order. */
function withoutSignalHandlers<T>(make: () => T): T {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const before = signals.map((signal) => new Set(process.listeners(signal)));
  const made = make();
  for (const [i, signal] of signals.entries()) {
    for (const listener of process.listeners(signal)) {
      if (!before[i].has(listener)) process.removeListener(signal, listener);
    }
  }
  return made;
}

/** Features of local development that cost time or the network, and that nobody asked for here. */
function quietMiniflare(): void {
  process.env.CLOUDFLARE_CF_FETCH_ENABLED = 'false';
  process.env.WRANGLER_SEND_METRICS = 'false';
  process.env.X_LOCAL_OBSERVABILITY = 'false';
  process.env.X_LOCAL_EXPLORER = 'false';
}
