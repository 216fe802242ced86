/**
 * What a pageserver may reach: committed WAL of its own project's timelines, its own layers in object storage,
 * and its own Durable Object.
 */
import { WorkerEntrypoint } from 'cloudflare:workers';
import { safekeeperName } from '../../lib/protocol/safekeepers.ts';
import { HOST } from '../../lib/protocol/specs.ts';
import type { Env } from '../env.ts';
import { objectStorage } from './object-storage.ts';

export interface PageserverEgressProps {
  projectId: string;
  token: string;
}

export class PageserverEgress extends WorkerEntrypoint<Env, PageserverEgressProps> {
  override async fetch(request: Request): Promise<Response> {
    const { projectId, token } = this.ctx.props;
    const url = new URL(request.url);
    switch (url.hostname) {
      case HOST.storage:
        return objectStorage(request, this.env, projectId);
      case HOST.wal: {
        const match = /^\/([123])\/timelines\/([0-9a-f]{32})\/wal$/.exec(url.pathname);
        if (!match) break;
        const [, place, timelineId] = match;
        const n = await this.env.PROJECT.getByName(projectId).safekeeperAt(timelineId, Number(place));
        if (n === null) return new Response(`no timeline ${timelineId}`, { status: 404 });
        return this.env.SAFEKEEPER.getByName(safekeeperName({ projectId, timelineId }, n)).fetch(
          new Request(`http://safekeeper/wal${url.search}`, request),
        );
      }
      case HOST.control: {
        const headers = new Headers(request.headers);
        headers.set('X-Ebb-Session', token);
        return this.env.PAGESERVER.getByName(projectId).fetch(
          new Request(`http://pageserver/container${url.pathname}`, new Request(request, { headers })),
        );
      }
    }
    return new Response(`a pageserver cannot reach ${url.hostname}${url.pathname}`, { status: 403 });
  }
}
