/**
 * Why the control plane does not do what it was asked: expected outcomes, each with a code that does not change
 * (docs/ERRORS.md). Inside the Project they are thrown; over RPC they are a value, as an error would lose its class.
 */
export const REFUSALS = {
  NOT_FOUND: 404,
  BAD_REQUEST: 400,
  BRANCH_NAME_EXISTS: 409,
  BRANCH_HAS_CHILDREN: 409,
  BRANCH_IS_DEFAULT: 409,
  BRANCH_PROTECTED: 409,
  ENDPOINT_EXISTS: 409,
  /** Its ancestors are in the specification that is sent with each request. */
  BRANCH_TOO_DEEP: 409,
  PRESERVE_NAME_REQUIRED: 400,
  LSN_BEYOND_HEAD: 400,
  LSN_BELOW_HISTORY: 410,
  TIMESTAMP_IN_FUTURE: 400,
  TIMESTAMP_BELOW_HISTORY: 410,
  TOO_MANY_TIME_TRAVELS: 429,
  NAMES_EXHAUSTED: 503,
  /** The safekeepers of the timeline are being replaced. */
  CONFLICT: 409,
  /** Only a compute can bring a new safekeeper up to date, and the branch has no endpoint. */
  ENDPOINT_NEEDED: 409,
  /** A quorum of safekeepers did not answer, or cannot tell yet what is committed. */
  HEAD_UNKNOWN: 503,
  PAGESERVER_UNAVAILABLE: 503,
} as const;
export type RefusalCode = keyof typeof REFUSALS;

export interface Refused {
  ok: false;
  code: RefusalCode;
  message: string;
}

export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly code: RefusalCode;
  constructor(code: RefusalCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.code = code;
  }
}

/** What `act` gives, or the refusal that it threw. */
export async function orRefused<T extends object>(
  act: () => T | Promise<T>,
): Promise<({ ok: true } & T) | Refused> {
  try {
    return { ok: true, ...(await act()) };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { ok: false, code: error.code, message: error.message };
  }
}
