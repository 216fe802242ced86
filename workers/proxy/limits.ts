/** Times and sizes that bound what a client may cost. Tests give smaller ones. */
export interface ProxyLimits {
  /** From the first byte to the end of authentication (Postgres: authentication_timeout). */
  authenticationMs: number;
  /** All attempts to wake a compute and to log in to its Postgres. */
  wakeMs: number;
  /** First pause between two attempts; each is twice the one before, up to the maximum, less up to half by chance. */
  backoffMs: number;
  backoffMsMax: number;
  /** Bytes are thrown away for so long after an error was sent, so that it is not lost with the connection. */
  lingerMs: number;
  /** Answers that depend on whether a role exists leave at whole multiples of this after the question. */
  answerGridMs: number;
}

export const PROXY_LIMITS: ProxyLimits = {
  authenticationMs: 60_000,
  wakeMs: 60_000,
  backoffMs: 100,
  backoffMsMax: 2_000,
  lingerMs: 1_000,
  answerGridMs: 10,
};

/** The superuser of every compute: no client may be it, and it looks as if it did not exist. */
export const RESERVED_ROLE = 'ebb_admin';
