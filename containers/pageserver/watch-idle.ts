/**
 * Nothing runs while nobody uses it: once the pageserver has been idle for `stopAfterMs`, it asks its Durable Object,
 * which says yes unless a caller has come in between, and then it stops.
 */
import type { Pageserver } from './pageserver.ts';

export interface WatchIdleOptions {
  pageserver: Pageserver;
  stopAfterMs: number;
  askToStop: () => Promise<boolean>;
  stop: () => Promise<void>;
  /** Waits; rejects when the pageserver exits. */
  sleep: (ms: number) => Promise<void>;
  onError: (error: unknown, what: string) => void;
}

const LOOK_MS_MAX = 1_000;

export function watchIdle(options: WatchIdleOptions): void {
  const { pageserver, stopAfterMs, sleep, onError } = options;
  const lookMs = Math.max(10, Math.min(LOOK_MS_MAX, stopAfterMs / 4));
  const watch = async () => {
    let idleSince: number | null = null;
    while (!pageserver.isStopping) {
      await sleep(lookMs);
      const now = performance.now();
      if (!(await pageserver.isIdle())) idleSince = null;
      else idleSince ??= now;
      if (idleSince === null || now - idleSince < stopAfterMs) continue;
      idleSince = null;
      try {
        if (await options.askToStop()) await options.stop();
      } catch (error) {
        onError(error, 'asking to stop');
      }
    }
  };
  watch().catch(() => undefined); // `sleep` rejects when the process exits
}
