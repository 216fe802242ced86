/** Times and sizes that bound what a client may cost. Tests give smaller ones. */
export interface ProxyLimits {
  /** From the first byte to the end of authentication (Postgres: authentication_timeout). */
  authenticationMs: number;
  /** Connections of one isolate that may be on the way to authentication at once. */
  unauthenticatedMax: number;
  /** All attempts to wake a compute and to log in to its Postgres. */
  wakeMs: number;
  /** First pause between two attempts; each is twice the one before, up to the maximum, less up to half by chance. */
  backoffMs: number;
  backoffMsMax: number;
  /** Bytes are thrown away for so long after an error was sent, so that it is not lost with the connection. */
  lingerMs: number;
  /** A SCRAM challenge, which exists for roles that do not, leaves at a whole multiple of this after the question. */
  challengeGridMs: number;
  /** So does the refusal of a password; it may be slower, as nobody is served by it. */
  refusalGridMs: number;
}

export const PROXY_LIMITS: ProxyLimits = {
  authenticationMs: 60_000,
  unauthenticatedMax: 500,
  wakeMs: 60_000,
  backoffMs: 100,
  backoffMsMax: 2_000,
  lingerMs: 1_000,
  challengeGridMs: 10,
  refusalGridMs: 100,
};

/** The superuser of every compute: no client may be it, and it looks as if it did not exist. */
export const RESERVED_ROLE = 'ebb_admin';
