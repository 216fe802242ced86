/** What the engine refuses. Docker's HTTP status and message, which workerd puts into its own errors. */
export type EngineErrorCode =
  | 'no-such-container'
  | 'no-such-image'
  | 'conflict'
  | 'not-offered'
  | 'closing'
  | 'failed';

const STATUS: Record<EngineErrorCode, number> = {
  'no-such-container': 404,
  'no-such-image': 404,
  conflict: 409,
  'not-offered': 501,
  closing: 503,
  failed: 500,
};

export class EngineError extends Error {
  override readonly name = 'EngineError';
  readonly code: EngineErrorCode;
  constructor(code: EngineErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
  get status(): number {
    return STATUS[this.code];
  }
}
