/**
 * The unmodified driver of Neon, pointed at a local Ebb by its documented endpoint settings only.
 */
import { neonConfig } from '@neondatabase/serverless';

/** `http`: base URL of the Worker. Settings are the driver's own and global to the process. */
export function pointNeonAt(http: string): void {
  const { host } = new URL(http);
  neonConfig.fetchEndpoint = `${http.replace(/\/$/, '')}/sql`;
  neonConfig.wsProxy = `${host}/v2`;
  neonConfig.useSecureWebSocket = false;
}
