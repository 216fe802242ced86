/**
 * What a pageserver may reach: committed WAL of its own project's timelines, its own layers in object storage,
 * and its own Durable Object.
 */
import { WorkerEntrypoint } from 'cloudflare:workers';
import { HOST } from '../../lib/protocol/specs.ts';
import type { Env } from '../env.ts';
import { objectStorage } from './object-storage.ts';

export interface PageserverEgressProps {
  projectId: string;
  token: string;
}

export class PageserverEgress extends WorkerEntrypoint<Env, PageserverEgressProps> {
  override fetch(request: Request): Promise<Response> | Response {
    const { projectId, token } = this.ctx.props;
    const url = new URL(request.url);
    switch (url.hostname) {
      case HOST.storage:
        return objectStorage(request, this.env, projectId);
      case HOST.wal: {
        const match = /^\/([123])\/timelines\/([0-9a-f]{32})\/wal$/.exec(url.pathname);
        if (!match) break;
        const name = `${projectId}/${match[2]}/${match[1]}`;
        return this.env.SAFEKEEPER.getByName(name).fetch(
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
