/** What the pageserver is told by its environment (lib/protocol/specs.ts), checked. */
import { statfs } from 'node:fs/promises';
import { CONTAINER_PORT, ENV, HOST, type PageserverSpec } from '../../lib/protocol/specs.ts';

export interface PageserverConfig {
  spec: PageserverSpec;
  diskFolder: string;
  templateFolder: string;
  host: string;
  port: number;
  storageEndpoint: string;
  logLevel: string;
  /** Bound of the layer files on disk; null: by the disk's size. */
  diskBytesMax: number | null;
}

/** Throws an Error that names the variable. */
export function readConfig(environment: NodeJS.ProcessEnv): PageserverConfig {
  return {
    spec: readSpec(environment[ENV.spec]),
    diskFolder: environment[ENV.disk] ?? '/var/lib/ebb',
    templateFolder: environment[ENV.template] ?? '/template/18',
    host: environment[ENV.listen] ?? '0.0.0.0',
    port: Number(environment[`PORT_${CONTAINER_PORT.http}`] ?? CONTAINER_PORT.http),
    storageEndpoint: `http://${HOST.storage}`,
    logLevel: environment['EBB_LOG_LEVEL'] ?? 'info',
    diskBytesMax: readBytes(ENV.diskBytesMax, environment[ENV.diskBytesMax]),
  };
}

function readSpec(text: string | undefined): PageserverSpec {
  if (text === undefined) throw new Error(`${ENV.spec} is not set`);
  const spec = JSON.parse(text) as PageserverSpec;
  const isValid =
    typeof spec.projectId === 'string' &&
    /^[a-z0-9-]+$/i.test(spec.projectId) &&
    Number.isSafeInteger(spec.generation) &&
    spec.generation > 0 &&
    spec.generation <= 0xffff_ffff &&
    typeof spec.sessionToken === 'string' &&
    spec.sessionToken.length > 0 &&
    Number.isFinite(spec.stopAfterMs);
  if (!isValid)
    throw new Error(
      `${ENV.spec} is no pageserver specification: ${JSON.stringify({ ...spec, sessionToken: '…' })}`,
    );
  return spec;
}

function readBytes(name: string, text: string | undefined): number | null {
  if (text === undefined) return null;
  const bytes = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(bytes) || bytes === 0)
    throw new Error(`${name} is no number of bytes: ${text}`);
  return bytes;
}

/** Most that layer files take of a disk whose bound is not configured; its other half is for what is not uploaded yet. */
const DISK_BYTES_DEFAULT_MAX = 20 * 2 ** 30;

export async function diskBytesMax(config: PageserverConfig): Promise<number> {
  if (config.diskBytesMax !== null) return config.diskBytesMax;
  const { bsize, blocks } = await statfs(config.diskFolder);
  return Math.min(DISK_BYTES_DEFAULT_MAX, Math.floor((bsize * blocks) / 2));
}
