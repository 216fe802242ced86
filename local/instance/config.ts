/**
 * config.json: what one Ebb keeps to itself. Written whole, by rename, readable by its owner only.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { z } from 'zod';

const Connection = z.object({
  projectId: z.string(),
  endpointId: z.string(),
  database: z.string(),
  role: z.string(),
  password: z.string(),
});
/** How the first project's owner connects. The password is known here only: the control plane keeps its SCRAM secret. */
export type Connection = z.infer<typeof Connection>;

const InstanceConfig = z.object({
  version: z.literal(1),
  apiKey: z.string(),
  mockAuthenticationSecret: z.string(),
  connection: Connection.nullable(),
});
export type InstanceConfig = z.infer<typeof InstanceConfig>;

const secret = (): string => randomBytes(24).toString('base64url');

/** Reads the file, or makes one with new keys. Throws with the path when it cannot be understood. */
export function loadConfig(path: string): InstanceConfig {
  if (!existsSync(path)) {
    const config: InstanceConfig = {
      version: 1,
      apiKey: `ebb_${secret()}`,
      mockAuthenticationSecret: secret(),
      connection: null,
    };
    saveConfig(path, config);
    return config;
  }
  return readConfig(path);
}

/** Reads the file. Throws with the path when it is not there or cannot be understood. */
export function readConfig(path: string): InstanceConfig {
  try {
    return InstanceConfig.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (cause) {
    throw new Error(`${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
}

export function saveConfig(path: string, config: InstanceConfig): void {
  writeFileSync(`${path}.new`, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** The URL for psql and drivers: the endpoint is named in `options`, so no DNS name is needed for it. */
export function postgresUrl(connection: Connection, port: number): string {
  const { role, password, database, endpointId } = connection;
  const [user, secretText, name] = [role, password, database].map(encodeURIComponent);
  return `postgres://${user}:${secretText}@localhost:${port}/${name}?options=endpoint%3D${endpointId}`;
}
