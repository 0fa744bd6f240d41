// TlsRenewal: certificates and keys are replaced in their files while the server runs, by whoever issues them for a time. The files are
// read now and then, and what they have counts for every handshake from then on. What cannot be used, such as a certificate whose key is yet to
// be written, changes nothing: the next look may find both.

import { isDeepStrictEqual } from "node:util";
import type { NbdServer, NbdTls } from "#gateway/nbd";
import type { Clock, Log, Timer } from "#host";
import { messageOf } from "#model";

export interface TlsRenewalOptions {
  /** What the files had when the server was opened. */
  readonly tls: NbdTls;
  /** What they have now. Throws `invalid-argument`. */
  readonly read: () => NbdTls | null;
}

export interface TlsRenewalDeps {
  readonly server: Pick<NbdServer, "renewTls">;
  readonly clock: Clock;
  readonly log: Log;
}

const lookEveryMs = 10_000;

export class TlsRenewal {
  readonly #options: TlsRenewalOptions;
  readonly #deps: TlsRenewalDeps;
  #inForce: NbdTls;
  /** What was wrong at the last look: said once. */
  #problem = "";
  #timer: Timer;

  constructor(options: TlsRenewalOptions, deps: TlsRenewalDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#inForce = options.tls;
    this.#timer = deps.clock.setTimer(lookEveryMs, this.#look);
  }

  close(): void {
    this.#timer.cancel();
  }

  readonly #look = (): void => {
    const { clock, log } = this.#deps;
    this.#timer = clock.setTimer(lookEveryMs, this.#look);
    try {
      this.#renew();
      this.#problem = "";
    } catch (error) {
      const problem = messageOf(error);
      if (problem !== this.#problem)
        log.warn("The files of TLS were changed and cannot be used; those of before stay in force.", {
          error: problem,
        });
      this.#problem = problem;
    }
  };

  #renew(): void {
    const { server, log } = this.#deps;
    const found = this.#options.read();
    if (found === null || isDeepStrictEqual(found, this.#inForce)) return;
    server.renewTls(found);
    this.#inForce = found;
    log.info("The files of TLS were changed: new connections are under what they have now.");
  }
}
