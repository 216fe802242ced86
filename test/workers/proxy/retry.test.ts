/** Only what may succeed a moment later is tried again. */
import { describe, expect, test, vi } from 'vitest';
import { PROXY_LIMITS } from '../../../workers/proxy/limits.ts';
import { ProxyError } from '../../../workers/proxy/proxy-error.ts';
import { AttemptFailed, retryTransient } from '../../../workers/proxy/retry.ts';

const limits = { ...PROXY_LIMITS, wakeMs: 200, backoffMs: 1, backoffMsMax: 4 };
const failing = (...errors: unknown[]) => {
  const attempt = vi.fn<() => Promise<string>>();
  for (const error of errors) attempt.mockRejectedValueOnce(error);
  return attempt.mockResolvedValue('done');
};
const transient = new AttemptFailed('no quorum', { retryable: true });
const final = new AttemptFailed('no disk', { retryable: false });
const lost = Object.assign(new Error('Network connection lost.'), { retryable: true });
const overloaded = Object.assign(new Error('Durable Object is overloaded.'), {
  retryable: true,
  overloaded: true,
});

describe('tried again', () => {
  test.each([
    ['a transient failure', transient],
    ['a lost call to a Durable Object', lost],
  ])('%s', async (_, error) => {
    const attempt = failing(error, error, error);
    expect(await retryTransient(attempt, limits)).toBe('done');
    expect(attempt).toHaveBeenCalledTimes(4);
  });
});

describe('not tried again', () => {
  test.each<[string, unknown, string]>([
    ['a final failure', final, 'the compute is not available: no disk'],
    [
      'an overloaded Durable Object',
      overloaded,
      'the compute is not available: its coordinator did not answer',
    ],
    [
      'a fault of ours',
      new TypeError('x is undefined'),
      'the compute is not available: its coordinator did not answer',
    ],
    ['an answer', new ProxyError('timeout', 'too slow'), 'too slow'],
  ])('%s', async (_, error, message) => {
    const attempt = failing(error);
    await expect(retryTransient(attempt, limits)).rejects.toThrow(message);
    expect(attempt).toHaveBeenCalledTimes(1);
  });
});

test('not for ever', async () => {
  const attempt = vi.fn<() => Promise<string>>().mockRejectedValue(transient);
  const begin = Date.now();
  await expect(retryTransient(attempt, limits)).rejects.toMatchObject({
    code: 'computeUnavailable',
    sqlState: '57P03',
    cause: transient,
  });
  expect(Date.now() - begin).toBeLessThan(limits.wakeMs + 1000);
  expect(attempt.mock.calls.length).toBeGreaterThan(5);
});
