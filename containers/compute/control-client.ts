/** What a compute asks of its Durable Object (ControlRoute in lib/protocol/specs.ts). */
import { HOST, type RolesReport } from '../../lib/protocol/specs.ts';

const TIMEOUT_MS = 10_000;

export class ControlError extends Error {
  override readonly name = 'ControlError';
}

async function ask(method: string, path: string, body: string | Uint8Array<ArrayBuffer>): Promise<unknown> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const response = await fetch(`http://${HOST.control}${path}`, { method, body, signal });
  if (!response.ok)
    throw new ControlError(`${method} ${path}: ${response.status} ${(await response.text()).slice(0, 200)}`);
  return response.json();
}

/** Whether the compute may stop now. Throws ControlError, or what fetch throws. */
export async function mayStop(): Promise<boolean> {
  const { stop } = (await ask('POST', '/idle', '{}')) as { stop: boolean };
  return stop;
}
export async function reportRoles(report: RolesReport): Promise<void> {
  await ask('POST', '/roles', JSON.stringify(report));
}
export async function keepWarmPages(runs: Uint8Array): Promise<void> {
  await ask('PUT', '/warm-pages', new Uint8Array(runs));
}
export async function reportSuperseded(term: number): Promise<void> {
  await ask('POST', '/superseded', JSON.stringify({ term }));
}
