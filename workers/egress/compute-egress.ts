/**
 * What a compute may reach: the three safekeepers and the pages of its own timeline, and its own Durable Object.
 *
 * The props were bound when the container was started. A request names neither project nor timeline, so there is
 * no request by which a compute could reach another's.
 */
import { WorkerEntrypoint } from 'cloudflare:workers';
import { ACCEPTOR_NUMBER_MAX } from '../../lib/consensus/configuration.ts';
import { placeOf, safekeeperName } from '../../lib/protocol/safekeepers.ts';
import { HOST, type TimelineSpec } from '../../lib/protocol/specs.ts';
import type { Env } from '../env.ts';

export interface ComputeEgressProps {
  endpointId: string;
  timeline: TimelineSpec;
  /** The session of the container that these names were opened for. */
  token: string;
}

export class ComputeEgress extends WorkerEntrypoint<Env, ComputeEgressProps> {
  override fetch(request: Request): Promise<Response> | Response {
    const { endpointId, timeline, token } = this.ctx.props;
    const url = new URL(request.url);
    const headers = new Headers(request.headers);
    headers.set('X-Ebb-Timeline', JSON.stringify(timeline));
    headers.set('X-Ebb-Project', timeline.projectId);
    headers.set('X-Ebb-Session', token);

    if (url.hostname === HOST.pageserver && url.pathname === '/pages') {
      return this.env.PAGESERVER.getByName(timeline.projectId).fetch(
        new Request('http://pageserver/pages', new Request(request, { headers })),
      );
    }
    if (url.hostname === HOST.control) {
      return this.env.COMPUTE.getByName(endpointId).fetch(
        new Request(`http://compute/container${url.pathname}`, new Request(request, { headers })),
      );
    }
    const n = Number(/^\/([1-9]\d{0,2})$/.exec(url.pathname)?.[1] ?? 0);
    if (n >= 1 && n <= ACCEPTOR_NUMBER_MAX && url.hostname === HOST.safekeeper(placeOf(n))) {
      headers.set('X-Ebb-Safekeeper', String(n));
      return this.env.SAFEKEEPER.getByName(safekeeperName(timeline, n)).fetch(
        new Request('http://safekeeper/', new Request(request, { headers })),
      );
    }
    return new Response(`a compute cannot reach ${url.hostname}${url.pathname}`, { status: 403 });
  }
}
