/**
 * Connections whose clients have not yet said who they are: so many at once and no more. Each costs memory and a look-up, and
 * anybody can open one; `limits.authenticationMs` bounds how long each may stay. Who comes when the room is full is
 * told so at once, and those who are in it are not disturbed.
 */
import { ProxyError } from './proxy-error.ts';

export class WaitingRoom {
  #waiting = 0;

  get waiting(): number {
    return this.#waiting;
  }

  /** Takes a place; the returned function gives it back, once. Throws ProxyError `tooManyConnections`. */
  enter(placesMax: number): () => void {
    if (this.#waiting >= placesMax)
      throw new ProxyError('tooManyConnections', 'too many connections are being authenticated', {
        hint: 'Try again in a moment.',
      });
    this.#waiting++;
    let inside = true;
    return () => {
      if (inside) this.#waiting--;
      inside = false;
    };
  }
}
