// A small NBD client for system tests that must know of each request whether it was answered: many in flight, none
// repeated, none merged.

import type { ListenAddress } from "../../src/gateway/nbd/listener.ts";
import { command } from "../../src/gateway/nbd/nbd-codec.ts";
import { RawClient } from "../../src/gateway/nbd/server-suite-client.ts";

interface Waiting {
  /** Bytes that follow a reply without an error. */
  readonly length: number;
  readonly resolve: (data: Buffer) => void;
  readonly reject: (error: Error) => void;
}

/** The server answered, with an error. */
export class NbdError extends Error {
  readonly errno: number;

  constructor(errno: number) {
    super(`the server answered with error ${errno}`);
    this.errno = errno;
  }
}

export class NbdClient {
  readonly #raw: RawClient;
  readonly #waiting = new Map<number, Waiting>();
  #cookie = 0;
  #ended: Error | null = null;

  private constructor(raw: RawClient) {
    this.#raw = raw;
    void this.#receive();
  }

  /** Enters the export `name`. Gives up, and rejects, when `signal` says so. */
  static async connect(address: ListenAddress, name: string, signal?: AbortSignal): Promise<NbdClient> {
    const raw = await RawClient.open(address);
    const giveUp = (): void => raw.destroy();
    signal?.addEventListener("abort", giveUp, { once: true });
    try {
      if (signal?.aborted) throw new Error("given up");
      await raw.enterExport(name);
    } catch (error) {
      raw.destroy();
      throw error;
    } finally {
      signal?.removeEventListener("abort", giveUp);
    }
    return new NbdClient(raw);
  }

  /** Why the connection ended; null while it stands. */
  get ended(): Error | null {
    return this.#ended;
  }

  /** Requests without an answer. */
  get waiting(): number {
    return this.#waiting.size;
  }

  read(offset: number, length: number): Promise<Buffer> {
    return this.#request(command.read, offset, length, length);
  }

  async write(offset: number, bytes: Buffer): Promise<void> {
    await this.#request(command.write, offset, bytes.length, 0, bytes);
  }

  async flush(): Promise<void> {
    await this.#request(command.flush, 0, 0, 0);
  }

  /** Ends the connection; what is in flight fails. */
  destroy(): void {
    this.#raw.destroy();
  }

  #request(type: number, offset: number, length: number, answer: number, payload?: Buffer): Promise<Buffer> {
    if (this.#ended !== null) return Promise.reject(this.#ended);
    this.#cookie = (this.#cookie + 1) % 2 ** 32;
    const cookieLow = this.#cookie;
    return new Promise((resolve, reject) => {
      this.#waiting.set(cookieLow, { length: answer, resolve, reject });
      this.#raw.send({ type, offset, length, cookieLow }, payload);
    });
  }

  async #receive(): Promise<void> {
    try {
      for (;;) {
        const { errno, cookie } = await this.#raw.simpleReply();
        const waiting = this.#waiting.get(cookie);
        if (waiting === undefined) throw new Error(`an answer to nothing: cookie ${cookie}`);
        const data =
          errno === 0 && waiting.length > 0 ? await this.#raw.read(waiting.length) : Buffer.alloc(0);
        this.#waiting.delete(cookie);
        if (errno === 0) waiting.resolve(data);
        else waiting.reject(new NbdError(errno));
      }
    } catch (error) {
      this.#ended = error as Error;
      this.#raw.destroy();
      for (const { reject } of this.#waiting.values()) reject(this.#ended);
      this.#waiting.clear();
    }
  }
}
