/**
 * Three safekeepers in this process with a clock that the test moves: the Durable Object's own class over real SQLite, with
 * stand-ins for what the runtime has below it (WebSocket pairs, alarms, the bucket). It counts whatever makes one run.
 */
import { DatabaseSync, type SQLInputValue } from 'node:sqlite';
import type { AcceptorSocket } from '../../../containers/compute/proposer/acceptor-link.ts';
import type { TimelineSpec } from '../../../lib/protocol/specs.ts';
import { testTimeline } from './edge.ts';

type Event = { data?: unknown; code?: number; reason?: string };
/** Of durable-objects/safekeeper, whose types are a Worker's. */
interface Safekeeper {
  fetch(request: Request): Promise<Response>;
  webSocketMessage(socket: End, message: unknown): Promise<void>;
  webSocketClose(socket: End, code: number): Promise<void>;
  alarm(): Promise<void>;
  learn(positions: unknown): void;
  told(): unknown;
}
type Constructor = new (ctx: unknown, env: unknown) => Safekeeper;

/** One end of a pair; what it sends arrives at the other in a later turn. */
export class End {
  static readonly OPEN = 1;
  peer!: End;
  readyState = 1;
  binaryType = 'arraybuffer';
  attachment: unknown = null;
  readonly #listeners = new Map<string, ((event: Event) => void)[]>();
  addEventListener(type: string, listener: (event: never) => void): void {
    const known = this.#listeners.get(type) ?? [];
    this.#listeners.set(type, [...known, listener as (event: Event) => void]);
  }
  emit(type: string, event: Event): void {
    for (const listener of this.#listeners.get(type) ?? []) listener(event);
  }
  send(data: Uint8Array): void {
    const copy = data.slice().buffer;
    void Promise.resolve().then(() => this.peer.emit('message', { data: copy }));
  }
  close(code = 1000, reason = ''): void {
    if (this.readyState !== 1) return;
    this.readyState = 3;
    const { peer } = this;
    void Promise.resolve().then(() => {
      peer.readyState = 3;
      peer.emit('close', { code, reason });
      this.emit('close', { code, reason });
    });
  }
  serializeAttachment(value: unknown): void {
    this.attachment = structuredClone(value);
  }
  deserializeAttachment(): unknown {
    return this.attachment;
  }
}
export class Pair {
  readonly 0 = new End();
  readonly 1 = new End();
  constructor() {
    [this[0].peer, this[1].peer] = [this[1], this[0]];
  }
}

class Sql {
  readonly #db = new DatabaseSync(':memory:');
  readonly databaseSize = 0;
  exec(query: string, ...values: SQLInputValue[]) {
    const bound = values.map((value) => (value instanceof ArrayBuffer ? new Uint8Array(value) : value));
    const statement = this.#db.prepare(query);
    const numbered = /\?\d/.test(query);
    const named = Object.fromEntries(bound.map((value, i) => [`?${i + 1}`, value]));
    const rows = (numbered ? statement.all(named) : statement.all(...bound)).map((row) =>
      Object.fromEntries(
        Object.entries(row).map(([name, value]) => [
          name,
          value instanceof Uint8Array ? value.slice().buffer : value,
        ]),
      ),
    );
    return { toArray: () => rows, one: () => rows[0] };
  }
}

export class SimulatedSafekeepers {
  readonly timeline: TimelineSpec = testTimeline();
  readonly objects = new Map<string, Safekeeper>();
  /** Timers are the runtime's; these are alarms and events. */
  wakes = 0;
  bucketFails = false;
  /** The number of a safekeeper that alone cannot reach object storage; 0 nobody. */
  cutOff = 0;
  readonly bucket = new Map<string, Uint8Array>();
  readonly #class: Constructor;

  constructor(safekeeper: Constructor) {
    this.#class = safekeeper;
  }

  readonly connect = (n: number): AcceptorSocket => {
    const object = this.object(`${this.timeline.projectId}/${this.timeline.timelineId}/${n}`);
    const headers = { 'X-Ebb-Timeline': JSON.stringify(this.timeline), 'X-Ebb-Safekeeper': String(n) };
    const request = new Request('http://safekeeper/', { headers });
    // fetch's own Headers refuse Upgrade.
    const get = (name: string) => (name === 'Upgrade' ? 'websocket' : request.headers.get(name));
    const answered = object.fetch({ url: request.url, headers: { get } } as unknown as Request);
    const outer = new End();
    void answered.then((response) => {
      const client = (response as unknown as { webSocket: End }).webSocket;
      outer.send = (data) => client.send(data);
      outer.close = (code, reason) => client.close(code, reason);
      for (const type of ['message', 'close'])
        client.addEventListener(type, (event) => outer.emit(type, event));
      outer.emit('open', {});
    });
    return outer;
  };

  object(name: string): Safekeeper {
    const known = this.objects.get(name);
    if (known !== undefined) return known;
    const sockets = new Map<End, string[]>();
    let alarm: ReturnType<typeof setTimeout> | undefined;
    const count = <T>(run: () => T): T => {
      this.wakes++;
      return run();
    };
    const storage = {
      sql: new Sql(),
      transactionSync: <T>(run: () => T) => run(),
      sync: () => Promise.resolve(),
      setAlarm: (at: number) => {
        clearTimeout(alarm);
        alarm = setTimeout(() => count(() => void object.alarm()), at - Date.now());
        return Promise.resolve();
      },
      deleteAlarm: () => Promise.resolve(clearTimeout(alarm)),
    };
    const ctx = {
      id: { name },
      storage,
      waitUntil: (promise: Promise<unknown>) => void promise,
      abort: (reason: string) => {
        throw new Error(reason);
      },
      getWebSockets: (tag?: string) =>
        [...sockets].filter(([, tags]) => tag === undefined || tags.includes(tag)).map(([end]) => end),
      getTags: (end: End) => sockets.get(end) ?? [],
      acceptWebSocket: (end: End, tags: string[]) => {
        sockets.set(end, tags);
        end.addEventListener('message', (event: Event) =>
          count(() => void object.webSocketMessage(end, event.data)),
        );
        end.addEventListener('close', (event: Event) => {
          sockets.delete(end);
          count(() => void object.webSocketClose(end, event.code ?? 1000));
        });
      },
    };
    const env = {
      SAFEKEEPER: {
        getByName: (peer: string) => ({
          learn: (positions: unknown) => count(() => this.object(peer).learn(positions)),
          told: () => count(() => this.object(peer).told()),
        }),
      },
      BUCKET: this.#bucketOf(Number(name.split('/').at(-1))),
    };
    const object = new this.#class(ctx, env);
    this.objects.set(name, object);
    return object;
  }

  #bucketOf(number: number) {
    const check = (): void => {
      if (this.bucketFails || this.cutOff === number) throw new Error('object storage is out of reach');
    };
    return {
      head: async (key: string) => {
        check();
        const found = this.bucket.get(key);
        return Promise.resolve(found === undefined ? null : { size: found.length });
      },
      put: async (key: string, bytes: Uint8Array) => {
        check();
        this.bucket.set(key, bytes);
        return Promise.resolve();
      },
      list: async ({ prefix }: { prefix: string }) => {
        check();
        const keys = [...this.bucket.keys()].filter((key) => key.startsWith(prefix));
        return Promise.resolve({ objects: keys.map((key) => ({ key })) });
      },
      delete: async (keys: string[]) => {
        check();
        for (const key of keys) this.bucket.delete(key);
        return Promise.resolve();
      },
    };
  }
}
