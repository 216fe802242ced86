import { expect, test } from 'vitest';
import { CircuitBreaker } from '../../../../containers/pageserver/maintenance/circuit-breaker.ts';

test('each failure in a row doubles the pause, up to a bound; a success forgets them', () => {
  let now = 0;
  const breaker = new CircuitBreaker({ pauseMs: 10, pauseMsMax: 50, now: () => now });
  expect(breaker.status()).toEqual({ failures: 0, lastError: null, pauseMs: 0 });
  const pauses = Array.from({ length: 5 }, (_, i) => {
    breaker.failed(new Error(`failure ${i}`));
    const { pauseMs } = breaker;
    expect(breaker.isPaused).toBe(true);
    now += pauseMs;
    expect(breaker.isPaused).toBe(false);
    return pauseMs;
  });
  expect(pauses).toEqual([10, 20, 40, 50, 50]);
  expect(breaker.status()).toEqual({ failures: 5, lastError: 'failure 4', pauseMs: 0 });
  breaker.succeeded();
  breaker.failed('again');
  expect(breaker.status()).toEqual({ failures: 1, lastError: 'again', pauseMs: 10 });
});
