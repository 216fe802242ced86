/**
 * One project's pageserver: owns its container.
 *
 * Each start gets a larger generation, so what an older container may still write to object storage can be told
 * from what the current one writes and does no harm (docs/formats/).
 */
import { DurableObject } from 'cloudflare:workers';
import { formatLsn, lsn, parseLsn } from '../../lib/postgres/lsn.ts';
import type { PageErrorCode } from '../../lib/protocol/pages.ts';
import {
  ENV,
  HOST,
  type HorizonRequest,
  type PageserverSpec,
  type TimelineSpec,
} from '../../lib/protocol/specs.ts';
import type { Env } from '../../workers/env.ts';
import { ManagedContainer, randomToken, type StartRequest } from '../container/managed-container.ts';
import type { PageserverRpc } from '../contracts.ts';

const PROJECT_KEY = 'project-id';
const GENERATION_KEY = 'generation';
/** With no compute attached and everything uploaded for so long, it stops. */
const STOP_AFTER_MS = 60_000;

export class Pageserver extends DurableObject<Env> implements PageserverRpc {
  readonly #container: ManagedContainer;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#container = new ManagedContainer(ctx, 'pageserver', (session) => {
      const projectId = this.ctx.storage.kv.get<string>(PROJECT_KEY);
      return projectId ? this.#outbound(projectId, session.token) : {};
    });
  }

  async wake(projectId: string, timeline?: TimelineSpec): Promise<void> {
    await this.#container.ensureRunning(() => this.#prepare(projectId, timeline));
  }

  async #prepare(projectId: string, timeline?: TimelineSpec): Promise<StartRequest> {
    const retentionSeconds = await this.env.PROJECT.getByName(projectId).historyRetentionSeconds();
    const generation = (this.ctx.storage.kv.get<number>(GENERATION_KEY) ?? 0) + 1;
    this.ctx.storage.kv.put(PROJECT_KEY, projectId);
    this.ctx.storage.kv.put(GENERATION_KEY, generation);
    const token = randomToken();
    const spec: PageserverSpec = {
      projectId,
      generation,
      sessionToken: token,
      stopAfterMs: STOP_AFTER_MS,
      ...(retentionSeconds === null ? {} : { historyRetentionMs: retentionSeconds * 1000 }),
      ...(timeline && { timelines: [timeline] }),
    };
    return { token, env: { [ENV.spec]: JSON.stringify(spec) }, outbound: this.#outbound(projectId, token) };
  }

  #outbound(projectId: string, token: string): Record<string, Fetcher> {
    const egress = this.ctx.exports.PageserverEgress({ props: { projectId, token } }) as unknown as Fetcher;
    return { [HOST.wal]: egress, [HOST.storage]: egress, [HOST.control]: egress };
  }

  async stop(): Promise<void> {
    await this.#container.stop('/stop');
  }

  async firstCommitAfter(
    timeline: TimelineSpec,
    range: { time: number; to: number },
  ): ReturnType<PageserverRpc['firstCommitAfter']> {
    try {
      await this.wake(timeline.projectId, timeline);
      const query = `time=${range.time}&to=${encodeURIComponent(formatLsn(lsn(range.to)))}`;
      const path = `/timelines/${timeline.timelineId}/first-commit-after?${query}`;
      const response = await this.#ask(path, { headers: { 'X-Ebb-Timeline': JSON.stringify(timeline) } });
      if (!response.ok)
        return { ok: false, ...(await response.json<{ code: PageErrorCode; message: string }>()) };
      const found = await response.json<{ lsn: string | null }>();
      return { ok: true, lsn: found.lsn === null ? null : parseLsn(found.lsn) };
    } catch (error) {
      return { ok: false, code: 'stopping', message: `the pageserver is not available: ${String(error)}` };
    }
  }

  async removeTimeline(projectId: string, timelineId: string): Promise<void> {
    if (this.#container.state === 'starting') await this.wake(projectId);
    if (this.#container.state === 'stopping') await this.#container.waitForExit();
    if (this.#container.state === 'running') {
      const forgotten = await this.#ask(`/timelines/${timelineId}/forget`, { method: 'POST' });
      if (!forgotten.ok) throw new Error(`the pageserver does not forget ${timelineId}: ${forgotten.status}`);
    }
    for (const what of ['layers', 'wal'])
      await this.#deleteObjects(`projects/${projectId}/${what}/${timelineId}/`);
  }

  /** What may be asked twice: a connection that was kept may turn out to be closed. */
  #ask(path: string, init: RequestInit): Promise<Response> {
    return this.#container.fetch(path, init).catch(() => this.#container.fetch(path, init));
  }

  async remove(): Promise<void> {
    await this.#container.stop('/stop');
    const projectId = this.ctx.storage.kv.get<string>(PROJECT_KEY);
    if (projectId) await this.#deleteObjects(`projects/${projectId}/`);
    await this.ctx.storage.deleteAll();
  }
  async #deleteObjects(prefix: string): Promise<void> {
    let cursor: string | undefined;
    do {
      const listed = await this.env.BUCKET.list({ prefix, ...(cursor === undefined ? {} : { cursor }) });
      if (listed.objects.length > 0) await this.env.BUCKET.delete(listed.objects.map((object) => object.key));
      cursor = listed.truncated ? listed.cursor : undefined;
    } while (cursor !== undefined);
  }

  /** `/metrics`, `/pages` and `/inspect/…` go to the container (which the last two wake); `/container/…` comes from it. */
  override async fetch(request: Request): Promise<Response> {
    const url = new URL(request.url);
    if (url.pathname.startsWith('/container/')) return this.#answerContainer(url.pathname.slice(10), request);
    if (url.pathname === '/metrics') return this.#metrics();
    if (url.pathname !== '/pages' && !url.pathname.startsWith('/inspect/')) {
      return new Response('not found', { status: 404 });
    }
    const projectId = request.headers.get('x-ebb-project');
    if (projectId === null) return new Response('no project', { status: 400 });
    await this.wake(projectId);
    return this.#container.fetch(url.pathname + url.search, request);
  }

  /** Whoever looks every few seconds must not keep a project awake: one that sleeps has one metric. */
  async #metrics(): Promise<Response> {
    const isUp = this.#container.state === 'running';
    const answer = isUp
      ? await this.#container.fetch('/metrics', new Request('http://pageserver/metrics'))
      : null;
    if (answer !== null && !answer.ok) return answer;
    const up =
      '# HELP ebb_pageserver_up Whether the pageserver runs\n# TYPE ebb_pageserver_up gauge\n' +
      `ebb_pageserver_up ${isUp ? 1 : 0}\n`;
    const text = answer === null ? up : `${await answer.text()}\n${up}`;
    return new Response(text, { headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' } });
  }

  async #answerContainer(path: string, request: Request): Promise<Response> {
    if (!this.#container.isCurrent(request.headers.get('x-ebb-session'))) {
      return Response.json({ message: 'this pageserver is not the current one' }, { status: 410 });
    }
    if (request.method !== 'POST') return new Response('not found', { status: 404 });
    if (path === '/horizon') return this.#answerHorizon(await request.json<HorizonRequest>());
    if (path !== '/idle') return new Response('not found', { status: 404 });
    const stop = this.#container.state === 'running';
    if (stop) this.#container.beginStop();
    return Response.json({ stop });
  }

  async #answerHorizon(asked: HorizonRequest): Promise<Response> {
    const projectId = this.ctx.storage.kv.get<string>(PROJECT_KEY)!;
    const answer = await this.env.PROJECT.getByName(projectId).recordHorizon(asked);
    if (answer !== null) return Response.json(answer);
    return Response.json({ message: `the project has no timeline ${asked.timelineId}` }, { status: 404 });
  }
}
