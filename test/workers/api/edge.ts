/** The control plane in a real workerd: `await ControlPlaneEdge.start()`. */
import { join } from 'node:path';
import { build } from 'esbuild';
import { convertV4MiniflareOptions, Miniflare } from 'miniflare';

Object.assign(process.env, { X_LOCAL_OBSERVABILITY: 'false', X_LOCAL_EXPLORER: 'false' });

export interface Answer<T> {
  status: number;
  json: T & { code?: string; message?: string };
}

export class ControlPlaneEdge {
  readonly #miniflare: Miniflare;
  readonly #url: URL;

  private constructor(miniflare: Miniflare, url: URL) {
    this.#miniflare = miniflare;
    this.#url = url;
  }
  static async start(): Promise<ControlPlaneEdge> {
    const { outputFiles } = await build({
      entryPoints: [join(import.meta.dirname, 'fixture/worker.js')],
      bundle: true,
      format: 'esm',
      target: 'esnext',
      conditions: ['workerd', 'worker'],
      external: ['cloudflare:*', 'node:*'],
      write: false,
    });
    const classes = ['Account', 'Project', 'Compute', 'Safekeeper', 'Pageserver'];
    const miniflare = new Miniflare({
      ...convertV4MiniflareOptions({
        host: '127.0.0.1',
        port: 0,
        cf: false,
        name: 'api',
        modules: [{ type: 'ESModule', path: 'worker.mjs', contents: outputFiles[0].text }],
        compatibilityDate: '2026-11-01',
        compatibilityFlags: ['nodejs_compat'],
        bindings: { API_KEY: 'key', SUSPEND_AFTER_SECONDS: '300', POSTGRES_HOST: 'localhost:5432' },
        durableObjects: Object.fromEntries(
          classes.map((className) => [className.toUpperCase(), { className, useSQLite: true }]),
        ),
      }),
    });
    return new ControlPlaneEdge(miniflare, await miniflare.ready);
  }

  async api<T>(method: string, path: string, body?: unknown): Promise<Answer<T>> {
    const response = await fetch(new URL(`/api/v2${path}`, this.#url), {
      method,
      headers: { Authorization: 'Bearer key' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, json: (await response.json()) as Answer<T>['json'] };
  }
  /** Sets what a played object answers. */
  async play(binding: string, name: string, set: unknown): Promise<void> {
    await this.#control(binding, name, { method: 'PUT', body: JSON.stringify(set) });
  }
  /** What a played object was asked. */
  async calls(binding: string, name: string): Promise<unknown[][]> {
    return ((await (await this.#control(binding, name)).json()) as { calls: unknown[][] }).calls;
  }
  #control(binding: string, name: string, init?: RequestInit): Promise<Response> {
    return fetch(new URL(`/control/${binding}/${encodeURIComponent(name)}`, this.#url), init);
  }
  /** Calls a method of an object, as another object does. */
  async rpc<T>(binding: string, name: string, method: string, ...args: unknown[]): Promise<T> {
    const path = `/rpc/${binding}/${encodeURIComponent(name)}/${method}`;
    const response = await fetch(new URL(path, this.#url), { method: 'POST', body: JSON.stringify(args) });
    return (await response.json()) as T;
  }
  async stop(): Promise<void> {
    await this.#miniflare.dispose();
  }
}
