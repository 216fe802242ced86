/**
 * One connection to this compute's own Postgres over its unix socket: for the superuser's work, and for `/sql`.
 *
 * Framing is pg-protocol's. What is Ebb's own: a login from a SCRAM ClientKey (no password is ever here), results as
 * the text that Postgres sent, a limit on the bytes of one answer, and a verdict before an answer is believed
 * (`settle`, see gateway/commit-guard.ts). Statements run one after another, in the order they were asked for.
 */
import { connect as connectSocket, type Socket } from 'node:net';
import { serialize } from 'pg-protocol';
import type {
  AuthenticationMD5Password,
  BackendKeyDataMessage,
  BackendMessage,
  CommandCompleteMessage,
  DataRowMessage,
  Field,
  ReadyForQueryMessage,
  RowDescriptionMessage,
} from 'pg-protocol/dist/messages.js';
import { Parser } from 'pg-protocol/dist/parser.js';
import { randomBytes } from 'node:crypto';
import { answer, start } from '../../../lib/postgres/scram/client.ts';
import { owned } from '../../../lib/postgres/scram/keys.ts';

export interface ConnectionOptions {
  socketPath: string;
  user: string;
  database?: string;
  /** Further startup parameters. */
  parameters?: Readonly<Record<string, string>>;
  /** Proves the role by SCRAM-SHA-256; without it the server must not ask. */
  clientKey?: Uint8Array;
  /** Bytes of one answer; a larger one ends the connection with `ConnectionError` `tooLarge`. Default: no limit. */
  answerBytesMax?: number;
  /**
   * Called when an answer is complete. Throws when it must not be believed; that ends the connection.
   */
  settle?: (connection: Connection) => Promise<void>;
}

/** The answer to one statement; values are Postgres's text form. */
export interface Result {
  fields: Field[];
  rows: (string | null)[][];
  /** Command tag, such as `INSERT 0 1`; empty for an empty query. */
  tag: string;
}

/**
 * `refused`: the server answered the login with an error (`cause` has it). `lost`: the connection ended.
 * `tooLarge`: an answer passed its limit. `unsupported`: what the server asked for is not possible here.
 */
export type ConnectionErrorCode = 'refused' | 'lost' | 'tooLarge' | 'unsupported';

export class ConnectionError extends Error {
  override readonly name = 'ConnectionError';
  readonly code: ConnectionErrorCode;
  constructor(code: ConnectionErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** ErrorResponse of the server (pg-protocol's DatabaseError), as far as it is passed on. */
export type ServerError = Error & Partial<Record<ErrorField, string>>;
export const ERROR_FIELDS = [
  'severity',
  'code',
  'detail',
  'hint',
  'position',
  'internalPosition',
  'internalQuery',
  'where',
  'schema',
  'table',
  'column',
  'dataType',
  'constraint',
  'file',
  'line',
  'routine',
] as const;
export type ErrorField = (typeof ERROR_FIELDS)[number];
export const isServerError = (error: unknown): error is ServerError =>
  error instanceof Error && typeof (error as { severity?: unknown }).severity === 'string';

/** 'I' idle, 'T' in a transaction, 'E' in a failed one. */
export type TransactionStatus = 'I' | 'T' | 'E';

interface Operation {
  /** By the extended protocol, which ends in a Sync. */
  extended: boolean;
  results: Result[];
  current: Result;
  bytes: number;
  failure: Error | null;
  resolve: (results: Result[]) => void;
  reject: (error: Error) => void;
}
/** What libpq takes (SCRAM_RAW_NONCE_LEN). */
const NONCE_BYTES = 18;

const emptyResult = (): Result => ({ fields: [], rows: [], tag: '' });

export class Connection {
  /** Backend process id and the key of its BackendKeyData. */
  pid = 0;
  secret = 0;
  status: TransactionStatus = 'I';
  /** Resolves when the connection has ended, for whatever reason. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  readonly #options: ConnectionOptions;
  readonly #parser = new Parser();
  #clientNonce = '';
  #login: PromiseWithResolvers<void> | null = Promise.withResolvers<void>();
  #operation: Operation | null = null;
  #ended: ConnectionError | null = null;
  /** The statement before, so that they run in order. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(socket: Socket, options: ConnectionOptions) {
    this.#socket = socket;
    this.#options = options;
    const closed = Promise.withResolvers<void>();
    this.closed = closed.promise;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', (cause) =>
      this.#end(new ConnectionError('lost', `connection to Postgres: ${cause.message}`, { cause })),
    );
    socket.once('close', () => {
      this.#end(new ConnectionError('lost', 'Postgres closed the connection'));
      closed.resolve();
    });
  }

  /** Connects and logs in. Throws ConnectionError `refused` or `lost`. */
  static async connect(options: ConnectionOptions): Promise<Connection> {
    const socket = connectSocket(options.socketPath);
    const connection = new Connection(socket, options);
    const login = connection.#login?.promise;
    socket.once('connect', () =>
      socket.write(
        serialize.startup({
          user: options.user,
          ...(options.database === undefined ? {} : { database: options.database }),
          ...options.parameters,
        }),
      ),
    );
    await login;
    return connection;
  }

  get isOpen(): boolean {
    return this.#ended === null;
  }

  /** Runs `sql` (one or more statements, no parameters) by the simple protocol. Throws ServerError, ConnectionError. */
  query(sql: string): Promise<Result[]> {
    return this.#run(serialize.query(sql), false);
  }

  /** Runs one statement with parameters in text form by the extended protocol. Throws as `query`. */
  async execute(sql: string, parameters: readonly (string | null)[]): Promise<Result> {
    const results = await this.#run(
      Buffer.concat([
        serialize.parse({ text: sql }),
        serialize.bind({ values: [...parameters] }),
        serialize.describe({ type: 'P' }),
        serialize.execute(),
        serialize.sync(),
      ]),
      true,
    );
    return results[0] ?? emptyResult();
  }

  /** Asks the server to cancel what runs on this connection; resolves when it has taken the request. */
  cancel(): Promise<void> {
    return sendCancelRequest(this.#options.socketPath, serialize.cancel(this.pid, this.secret));
  }

  /** Says goodbye; resolves when the connection has ended. */
  async close(): Promise<void> {
    if (this.isOpen) this.#socket.end(serialize.end());
    await this.closed;
  }

  /** Ends the connection at once. */
  destroy(): void {
    this.#end(new ConnectionError('lost', 'the connection was given up'));
  }

  #run(message: Buffer, extended: boolean): Promise<Result[]> {
    const start = (): Promise<Result[]> =>
      new Promise((resolve, reject) => {
        if (this.#ended !== null) return reject(this.#ended);
        this.#operation = {
          extended,
          results: [],
          current: emptyResult(),
          bytes: 0,
          failure: null,
          resolve,
          reject,
        };
        this.#socket.write(message);
      });
    const run = this.#last.then(start);
    this.#last = run.catch(() => undefined);
    return run;
  }

  #receive(chunk: Buffer): void {
    const operation = this.#operation;
    if (operation !== null) {
      operation.bytes += chunk.length;
      const bytesMax = this.#options.answerBytesMax ?? Number.POSITIVE_INFINITY;
      if (operation.bytes > bytesMax) {
        this.#end(new ConnectionError('tooLarge', `the answer is larger than ${bytesMax} bytes`));
        return;
      }
    }
    try {
      this.#parser.parse(chunk, (message) => {
        if (this.#ended === null) this.#dispatch(message);
      });
    } catch (cause) {
      this.#end(new ConnectionError('lost', 'Postgres sent what is no message', { cause }));
    }
  }

  #dispatch(message: BackendMessage): void {
    if (this.#login !== null) this.#dispatchLogin(message, this.#login);
    else if (this.#operation !== null) this.#dispatchAnswer(message, this.#operation);
  }

  #dispatchLogin(message: BackendMessage, login: PromiseWithResolvers<void>): void {
    switch (message.name) {
      case 'authenticationSASL': {
        const first = start(randomBytes(NONCE_BYTES));
        this.#clientNonce = first.nonce;
        const text = Buffer.from(first.message).toString('latin1');
        this.#socket.write(serialize.sendSASLInitialResponseMessage('SCRAM-SHA-256', text));
        return;
      }
      case 'authenticationSASLContinue':
        void this.#prove((message as BackendMessage & { data: string }).data);
        return;
      case 'authenticationCleartextPassword':
      case 'authenticationMD5Password':
        return this.#unsupported(`Postgres asks for ${(message as AuthenticationMD5Password).name}`);
      case 'backendKeyData':
        this.pid = (message as BackendKeyDataMessage).processID;
        this.secret = (message as BackendKeyDataMessage).secretKey;
        return;
      case 'error': {
        const cause = message as unknown as ServerError;
        this.#end(new ConnectionError('refused', cause.message, { cause }));
        return;
      }
      case 'readyForQuery':
        this.#login = null;
        login.resolve();
        return;
      default: // AuthenticationOk, SASLFinal, ParameterStatus, NoticeResponse: nothing to be done
    }
  }

  /** Its own server behind its own socket needs no proof of the server, so the ServerKey is not needed. */
  async #prove(serverFirst: string): Promise<void> {
    const { clientKey } = this.#options;
    if (clientKey === undefined) return this.#unsupported('Postgres asks for a password');
    const keys = { clientKey: owned(clientKey), serverKey: new Uint8Array(clientKey.length) };
    try {
      const final = await answer(keys, this.#clientNonce, Buffer.from(serverFirst));
      const text = Buffer.from(final.message).toString('latin1');
      this.#socket.write(serialize.sendSCRAMClientFinalMessage(text));
    } catch (cause) {
      this.#end(new ConnectionError('lost', `SCRAM with Postgres: ${(cause as Error).message}`, { cause }));
    }
  }

  #dispatchAnswer(message: BackendMessage, operation: Operation): void {
    switch (message.name) {
      case 'rowDescription':
        operation.current.fields = (message as RowDescriptionMessage).fields;
        return;
      case 'dataRow':
        operation.current.rows.push((message as DataRowMessage).fields as (string | null)[]);
        return;
      case 'commandComplete':
        operation.current.tag = (message as CommandCompleteMessage).text;
        operation.results.push(operation.current);
        operation.current = emptyResult();
        return;
      case 'emptyQuery':
        operation.results.push(operation.current);
        operation.current = emptyResult();
        return;
      case 'error':
        operation.failure ??= message as unknown as ServerError;
        return;
      case 'copyInResponse': // in copy mode the server drops the Sync that was sent already
        operation.failure = new ConnectionError('unsupported', 'COPY FROM STDIN is not possible here');
        this.#socket.write(serialize.copyFail('not possible here'));
        if (operation.extended) this.#socket.write(serialize.sync());
        return;
      case 'copyOutResponse':
        operation.failure = new ConnectionError('unsupported', 'COPY TO STDOUT is not possible here');
        return;
      case 'readyForQuery':
        this.status = (message as ReadyForQueryMessage).status as TransactionStatus;
        this.#operation = null;
        void this.#complete(operation);
        return;
      default: // ParseComplete, BindComplete, NoData, CopyData, ParameterStatus, NoticeResponse …
    }
  }

  async #complete(operation: Operation): Promise<void> {
    try {
      await this.#options.settle?.(this);
    } catch (error) {
      this.destroy();
      operation.reject(error as Error);
      return;
    }
    if (operation.failure !== null) operation.reject(operation.failure);
    else operation.resolve(operation.results);
  }

  #unsupported(message: string): void {
    this.#end(new ConnectionError('unsupported', message));
  }

  #end(error: ConnectionError): void {
    if (this.#ended !== null) return;
    this.#ended = error;
    this.#login?.reject(error);
    this.#operation?.reject(this.#operation.failure ?? error);
    this.#operation = null;
    this.#socket.destroy();
  }
}

/** Sends `request` (a whole CancelRequest) on a socket of its own; resolves when the server has closed it. */
export function sendCancelRequest(path: string, request: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connectSocket(path);
    socket.once('connect', () => socket.end(request));
    socket.once('error', reject);
    socket.once('close', () => resolve());
    socket.resume();
  });
}
