/**
 * `ebb dev`: `wrangler dev` on wrangler.toml, with Ebb's engine where wrangler expects Docker.
 *
 * The same Worker, Durable Objects and container programs as `ebb start`, with wrangler's reload on change,
 * its log and its inspector. State is kept apart, in the folder `dev` inside the given one. wrangler is given a
 * copy of wrangler.toml with absolute paths and the chosen port for Postgres, which has no option of its own.
 * With a real Docker, plain `npx wrangler dev` does all this on images.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { stringify } from 'smol-toml';
import { ROOT, readWranglerConfig, type WranglerConfig } from '../edge/wrangler-config.ts';
import { Engine } from '../engine/engine.ts';
import { loadConfig, postgresUrl, type InstanceConfig } from '../instance/config.ts';
import { ControlPlane } from '../instance/control-plane.ts';
import { instanceFolder, prepareFolder } from '../instance/folder.ts';
import { ebbImages } from '../instance/images.ts';
import {
  endLeftOvers,
  requireFirstProject,
  requireFree,
  requireTemplate,
  RUNTIME_MARKER,
} from '../instance/instance.ts';
import { takeLock } from '../instance/lock.ts';
import { requirePrograms } from '../instance/programs.ts';

export interface DevOptions {
  dir: string;
  port: number;
  pgPort: number;
}

const HEALTH_POLL_MS = 200;

/** Runs until wrangler ends. Sets the process's exit code to wrangler's. */
export async function dev(wranglerArgs: string[], options: DevOptions): Promise<void> {
  const say = (line: string) => void process.stderr.write(`${line}\n`);
  const config = readWranglerConfig();
  const postgresPort = options.pgPort;
  const folder = prepareFolder(join(options.dir, 'dev'));
  const lock = takeLock(folder.lock, { httpPort: options.port, postgresPort });
  let engine: Engine | undefined;
  try {
    await endLeftOvers(folder);
    await requireFree(options.port, '--port', 0);
    await requireFree(postgresPort, '--pg-port', 0);
    const { template } = instanceFolder(options.dir);
    await requireTemplate(template, say);
    engine = await Engine.start({
      folder: folder.root,
      socket: folder.engineSocket,
      images: ebbImages(await requirePrograms(), template),
    });
    const instance = loadConfig(folder.config);
    const variables = join(folder.run, 'dev.vars');
    writeFileSync(variables, variablesText(config, instance, options.port), { mode: 0o600 });
    const configCopy = join(folder.run, 'wrangler.toml');
    writeFileSync(configCopy, configText(config, postgresPort));
    const wrangler = runWrangler(folder.engineSocket, folder.root, [
      `--config=${configCopy}`,
      `--port=${options.port}`,
      `--persist-to=${folder.state}`,
      `--env-file=${variables}`,
      ...wranglerArgs,
    ]);
    const ended = once(wrangler, 'exit') as Promise<[code: number | null]>;
    void announce(options.port, instance, folder.config, postgresPort, ended, say);
    const [code] = await ended;
    process.exitCode = code ?? 0;
  } finally {
    await engine?.close();
    await endLeftOvers(folder);
    lock.release();
  }
}

function runWrangler(engineSocket: string, state: string, args: string[]): ChildProcess {
  const child = spawn(
    process.execPath,
    [join(ROOT, 'node_modules/wrangler/bin/wrangler.js'), 'dev', ...args],
    {
      cwd: ROOT,
      stdio: 'inherit',
      env: {
        ...process.env,
        WRANGLER_DOCKER_BIN: join(ROOT, 'local/bin/docker-stub.sh'),
        DOCKER_HOST: `unix://${engineSocket}`,
        WRANGLER_DOCKER_HOST: `unix://${engineSocket}`,
        WRANGLER_SEND_METRICS: 'false',
        CLOUDFLARE_CF_FETCH_ENABLED: 'false',
        X_LOCAL_OBSERVABILITY: 'false',
        [RUNTIME_MARKER]: state,
      },
    },
  );
  // Ctrl-C reaches wrangler by itself, and it ends; other ways to stop us are passed on.
  process.on('SIGINT', () => undefined);
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill('SIGINT'));
  return child;
}

/** The names of `secrets` in wrangler.toml, as `wrangler dev` reads them from a file. */
function variablesText(config: WranglerConfig, instance: InstanceConfig, port: number): string {
  const [bucket] = config.r2_buckets;
  const credentials = bucket.local_dev.experimental_s3_credentials;
  return [
    `API_KEY=${instance.apiKey}`,
    `MOCK_AUTHENTICATION_SECRET=${instance.mockAuthenticationSecret}`,
    `S3_ENDPOINT=http://127.0.0.1:${port}/cdn-cgi/local/r2/s3`,
    `S3_ACCESS_KEY_ID=${credentials.accessKeyId}`,
    `S3_SECRET_ACCESS_KEY=${credentials.secretAccessKey}`,
    '',
  ].join('\n');
}

/** wrangler.toml for another folder, with another port for Postgres. */
function configText(config: WranglerConfig, postgresPort: number): string {
  const [connect] = config.connect;
  return stringify({
    ...config,
    main: join(ROOT, config.main),
    connect: [{ ...connect, port: postgresPort }],
    containers: config.containers.map((container) => ({
      ...container,
      image: join(ROOT, container.image),
      image_build_context: ROOT,
    })),
    vars: { ...config.vars, POSTGRES_HOST: `localhost:${postgresPort}` },
  });
}

/** Once the Worker answers: makes the first project if there is none, and says how to connect. */
async function announce(
  port: number,
  instance: InstanceConfig,
  configPath: string,
  postgresPort: number,
  ended: Promise<unknown>,
  say: (line: string) => void,
): Promise<void> {
  const httpUrl = `http://127.0.0.1:${port}`;
  const over = new AbortController();
  void ended.then(() => over.abort());
  while (!over.signal.aborted && !(await answers(httpUrl))) await delay(HEALTH_POLL_MS);
  if (over.signal.aborted) return;
  try {
    const controlPlane = new ControlPlane(httpUrl, instance.apiKey);
    const connection = await requireFirstProject(controlPlane, instance, configPath);
    say(`psql '${postgresUrl(connection, postgresPort)}'   HTTP ${httpUrl}   API key ${instance.apiKey}`);
  } catch (error) {
    say(`ebb: ${(error as Error).message}`);
  }
}

async function answers(httpUrl: string): Promise<boolean> {
  try {
    return (await fetch(`${httpUrl}/healthz`)).ok;
  } catch {
    return false;
  }
}
