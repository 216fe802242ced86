/**
 * Time travel: a client that names an LSN or a time (endpoint-name.ts) is led to an endpoint at that point of the history,
 * after it has proved that it may use the present one.
 *
 * What it writes there is discarded, and it is told so: by a NOTICE, by the parameter `ebb_lsn`, or by the header
 * Ebb-Lsn of `POST /sql`.
 */
import type { PointText } from '../../durable-objects/contracts.ts';
import { buildNotice } from '../../lib/postgres/wire/error-response.ts';
import { buildParameterStatus } from '../../lib/postgres/wire/session.ts';
import type { ComputeStub, ProxyEnv } from './env.ts';
import { ProxyError } from './proxy-error.ts';
import { AttemptFailed } from './retry.ts';

export const TRAVEL_HEADER = 'ebb-lsn';

export interface Reached {
  stub: ComputeStub;
  /** Of the past; null: the present. */
  lsn: string | null;
}

/** The endpoint's object, or that of its past. Throws ProxyError `pointOfHistory`, AttemptFailed. */
export async function reach(env: ProxyEnv, endpoint: string, point: PointText | null): Promise<Reached> {
  const present = env.COMPUTE.getByName(endpoint);
  if (point === null) return { stub: present, lsn: null };
  const found = await present.travel(point);
  if (found.ok) return { stub: env.COMPUTE.getByName(found.endpointId), lsn: found.lsn };
  if (found.retryable) throw new AttemptFailed(found.message, { retryable: true });
  throw new ProxyError('pointOfHistory', `time travel: ${found.message}`, { detail: found.code });
}

/** Throws AttemptFailed. */
export async function wakeReached({ stub, lsn }: Reached): Promise<void> {
  const result = await stub.wake();
  if (result.ok) return;
  // An endpoint of the past may end just as somebody comes: the next attempt gets another.
  throw new AttemptFailed(result.message, { retryable: result.retryable || lsn !== null });
}

export function withTravelNotice(greeting: Uint8Array, lsn: string): Uint8Array {
  const notice = buildNotice({
    severity: 'NOTICE',
    code: '00000',
    message: `this session is at ${lsn}, in the past: what it writes is discarded when it ends`,
    hint: 'To keep what you write, make a branch there.',
  });
  const status = buildParameterStatus('ebb_lsn', lsn);
  const bytes = new Uint8Array(notice.length + status.length + greeting.length);
  bytes.set(status);
  bytes.set(notice, status.length);
  bytes.set(greeting, status.length + notice.length);
  return bytes;
}
