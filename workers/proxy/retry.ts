/**
 * Retrying with exponential backoff and jitter, for what may succeed a moment later and for nothing else.
 */
import type { ProxyLimits } from './limits.ts';
import { ProxyError } from './proxy-error.ts';

/** Thrown inside an attempt: `retryable` says whether another one makes sense. */
export class AttemptFailed extends Error {
  override readonly name = 'AttemptFailed';
  readonly retryable: boolean;
  constructor(message: string, options: { retryable: boolean; cause?: unknown }) {
    super(message, { cause: options.cause });
    this.retryable = options.retryable;
  }
}

/** What the runtime says of a call to a Durable Object that failed: `overloaded` ones must not be repeated. */
export function isTransient(error: unknown): boolean {
  if (error instanceof AttemptFailed) return error.retryable;
  const { retryable, overloaded } = error as { retryable?: boolean; overloaded?: boolean };
  return retryable === true && overloaded !== true;
}

const HINT = 'The database could not be reached. Try again in a moment.';

const unavailable = (error: unknown): ProxyError => {
  const reason = error instanceof AttemptFailed ? error.message : 'its coordinator did not answer';
  return new ProxyError('computeUnavailable', `the compute is not available: ${reason}`, {
    hint: HINT,
    cause: error,
  });
};

/**
 * Runs `attempt` until it succeeds, fails for good, or `limits.wakeMs` have passed. A ProxyError is final and
 * passed on; any other failure becomes ProxyError `computeUnavailable`.
 */
export async function retryTransient<T>(attempt: () => Promise<T>, limits: ProxyLimits): Promise<T> {
  const giveUpAt = Date.now() + limits.wakeMs;
  for (let backoff = limits.backoffMs; ; backoff = Math.min(backoff * 2, limits.backoffMsMax)) {
    try {
      return await attempt();
    } catch (error) {
      if (error instanceof ProxyError) throw error;
      const pause = backoff * (1 - Math.random() / 2);
      if (!isTransient(error) || Date.now() + pause > giveUpAt) throw unavailable(error);
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}
