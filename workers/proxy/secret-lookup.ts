/**
 * The SCRAM secret to judge a client by: the role's own, or one that no password fits.
 *
 * An endpoint that does not exist, a role that does not exist and the reserved role all get a mock secret whose
 * salt depends on what was named and on the installation's secret only, so asking twice tells nothing.
 */
import { makeMockSecret, parseSecret, type ScramSecret } from '../../lib/postgres/scram/secret.ts';
import type { ProxyEnv } from './env.ts';
import { RESERVED_ROLE, type ProxyLimits } from './limits.ts';
import { retryTransient } from './retry.ts';

/** Throws ProxyError `computeUnavailable` when the endpoint's object cannot be asked. */
export async function lookUpSecret(
  env: ProxyEnv,
  named: { endpoint: string; role: string },
  limits: ProxyLimits,
): Promise<ScramSecret> {
  const { endpoint, role } = named;
  const [text, mock] = await Promise.all([
    retryTransient(() => env.COMPUTE.getByName(endpoint).scramSecret(role), limits),
    makeMockSecret(env.MOCK_AUTHENTICATION_SECRET, `${endpoint}\0${role}`),
  ]);
  const secret = text === null || role === RESERVED_ROLE ? null : parseSecret(text);
  return secret ?? mock;
}

/**
 * Waits for the next multiple of `gridMs` since `startedAt` (ms, Date.now()). Looking up a role that exists
 * takes another time than finding nothing; on a grid both answers leave at the same moments. A client's own
 * round trip usually covers the wait.
 */
export async function waitForGrid(startedAt: number, gridMs: number): Promise<void> {
  const elapsed = Date.now() - startedAt;
  const wait = Math.ceil(Math.max(elapsed, 1) / gridMs) * gridMs - elapsed;
  if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
}
