// Connection: one client's socket, from the greeting to the last byte. It owns the socket and the opened export:
// the export is released exactly once, and only when none of the connection's requests is in flight.

import type { Socket } from "node:net";
import type { Clock, Log, MemoryBudget, ReusedMemory, Timer } from "#host";
import type { ErrorCode } from "#model";
import { AssertionFailure, isTorusError, messageOf } from "#model";
import type { BlockDevice } from "#volume";
import type { ExportCatalog } from "./exports.ts";
import { lingerMsMax, negotiationMsMax } from "./limits.ts";
import { contextNames } from "./meta-contexts.ts";
import type { NegotiationStep } from "./negotiation-machine.ts";
import { NegotiationMachine } from "./negotiation-machine.ts";
import type { NbdTls } from "./tls.ts";
import { startTls } from "./tls.ts";
import type { TransmissionMetrics, TransmissionOptions } from "./transmission.ts";
import { Transmission } from "./transmission.ts";

export interface ConnectionDeps {
  readonly socket: Socket;
  readonly exports: ExportCatalog;
  /** Of all connections of a server. */
  readonly memory: ReusedMemory;
  readonly budget: MemoryBudget;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: TransmissionMetrics;
  readonly tls: NbdTls | null;
  /** Called once: the socket is closed, nothing is in flight, the export has been released. */
  readonly onClosed: (connection: Connection) => void;
}

export class Connection {
  readonly #deps: ConnectionDeps;
  readonly #machine: NegotiationMachine;
  /** What was accepted, and from STARTTLS on what protects it. */
  #socket: Socket;
  #transmission: Transmission | null = null;
  /** The opened export, until it is handed to `release`. */
  #device: BlockDevice | null = null;
  /** The catalogue is being asked, or requests are in flight: what must end before the connection has ended. */
  #working = false;
  #socketClosed = false;
  #ending = false;
  #ended = false;
  #timer: Timer | null = null;
  /** Time of negotiation left to the client. */
  #patienceMs = negotiationMsMax;
  #waitingSinceMs = 0;

  constructor(deps: ConnectionDeps) {
    this.#deps = deps;
    const { socket, tls } = deps;
    this.#machine = new NegotiationMachine({ tls: tls === null ? "off" : tls.isRequired ? "require" : "on" });
    this.#socket = socket;
    this.#listenTo(socket);
    this.#negotiate();
  }

  #listenTo(socket: Socket): void {
    const { log } = this.#deps;
    socket.on("data", this.#onData);
    socket.on("end", this.#onEnd);
    socket.on("error", (error) => log.debug("The connection broke.", { error: error.message }));
    socket.on("close", this.#onClose);
  }

  readonly #onData = (chunk: Buffer): void => this.#receive(chunk);
  readonly #onEnd = (): void => this.end();
  readonly #onClose = (): void => this.#onSocketClosed();

  /** Where the socket that was accepted should put its next bytes; null when it does not matter. */
  room(): Uint8Array | null {
    return this.#socket === this.#deps.socket ? (this.#transmission?.room() ?? null) : null;
  }

  /** Answers what is in flight, takes nothing new, closes. */
  end(): void {
    if (this.#ending) return;
    this.#ending = true;
    if (this.#transmission !== null) this.#transmission.end();
    else if (!this.#working) this.#closeSocket();
  }

  /** The device has failed: what is in flight gets its errors, and the client has to connect anew to get anything else. */
  readonly #onLost = (): void => {
    this.#deps.log.info("The connection ends: its export was lost.");
    this.end();
  };

  /** Closes at once; requests in flight go on at the device, their replies are lost. */
  destroy(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    if (this.#transmission !== null) this.#transmission.receive(chunk);
    else if (!this.#ending) {
      // What the socket gives is its own again when this returns.
      this.#machine.push(Buffer.from(chunk));
      if (!this.#working) this.#negotiate();
    }
  }

  /** Goes on with the handshake as far as the bytes allow. */
  #negotiate(): void {
    const step = this.#machine.next();
    const output = this.#machine.takeOutput();
    if (output.length > 0 && this.#socket.writable) this.#socket.write(output);
    switch (step.kind) {
      case "more":
        this.#waitForClient();
        return;
      case "list":
      case "describe":
      case "contexts":
      case "open":
        this.#stopWaiting();
        this.#working = true;
        this.#socket.pause();
        void this.#ask(step).then(() => this.#answered());
        return;
      case "startTls":
        void this.#startTls();
        return;
      case "transmit":
        this.#transmit(step);
        return;
      case "close":
        if (step.garbage) this.#deps.metrics.garbage.add(1);
        this.#deps.log.debug("The negotiation is over.", { reason: step.reason });
        this.#ending = true;
        this.#closeSocket();
    }
  }

  /** Puts a question of the machine to the catalogue and gives it the answer. */
  async #ask(step: NegotiationStep & { kind: "list" | "describe" | "contexts" | "open" }): Promise<void> {
    const { exports, log } = this.#deps;
    try {
      if (step.kind === "list") this.#machine.listed(await exports.list());
      else if (step.kind === "describe") this.#machine.found(await exports.describe(step.name));
      else if (step.kind === "contexts") {
        this.#machine.listedContexts(contextNames(await exports.snapshots(step.name)));
      } else {
        this.#device = await exports.open(step.name, this.#onLost);
        this.#machine.found(this.#device.info);
      }
    } catch (error) {
      if (error instanceof AssertionFailure) throw error;
      const code: ErrorCode = isTorusError(error) ? error.code : "io";
      log.info("A client was refused an export.", {
        export: step.kind === "list" ? "(list)" : step.name,
        error: messageOf(error),
      });
      this.#machine.refused(code, messageOf(error));
    }
  }

  #answered(): void {
    this.#working = false;
    if (this.#ending || this.#socketClosed) {
      this.#closeSocket();
      this.#settle();
      return;
    }
    this.#socket.resume();
    this.#negotiate();
  }

  /** In the client's time. The socket's own bytes are nobody's any more from here on. */
  async #startTls(): Promise<void> {
    const { tls, log, metrics } = this.#deps;
    const plain = this.#socket;
    this.#waitForClient();
    plain.removeListener("data", this.#onData);
    plain.removeListener("end", this.#onEnd);
    try {
      const secure = await startTls(plain, (tls as NbdTls).credentials);
      plain.removeListener("close", this.#onClose);
      this.#socket = secure;
      metrics.encrypted.add(1);
      log.debug("The connection is encrypted.", {
        protocol: secure.getProtocol(),
        cipher: secure.getCipher().name,
      });
      this.#machine.secured();
      this.#listenTo(secure);
      if (secure.destroyed) this.#onSocketClosed();
      else if (this.#ending) this.#closeSocket();
      else this.#negotiate();
    } catch (error) {
      metrics.tlsFailures.add(1);
      log.info("A client was refused: TLS could not be agreed on.", { error: messageOf(error) });
      plain.destroy();
    }
  }

  #transmit({ style, contexts }: TransmissionOptions): void {
    const { log, metrics, memory, budget } = this.#deps;
    const device = this.#device as BlockDevice;
    this.#stopWaiting();
    this.#working = true;
    this.#transmission = new Transmission(
      { style, contexts },
      {
        socket: this.#socket,
        device,
        memory,
        budget,
        metrics,
        log: log.child({ export: device.info.name }),
        onFinished: () => this.#served(),
      },
    );
    const rest = this.#machine.takeRest();
    if (rest.length > 0) this.#transmission.receive(rest);
  }

  #served(): void {
    this.#working = false;
    this.#ending = true;
    this.#closeSocket();
    this.#settle();
  }

  /** Our last bytes are on their way; a client that does not close in turn is dropped. */
  #closeSocket(): void {
    const { clock } = this.#deps;
    const socket = this.#socket;
    this.#stopWaiting();
    if (socket.destroyed) return;
    socket.end();
    socket.resume();
    this.#timer = clock.setTimer(lingerMsMax, () => socket.destroy());
  }

  #onSocketClosed(): void {
    this.#socketClosed = true;
    this.#stopWaiting();
    this.end();
    this.#settle();
  }

  /** The end, once the socket is closed and nothing is in flight. */
  #settle(): void {
    if (!this.#socketClosed || this.#working || this.#ended) return;
    this.#ended = true;
    const device = this.#device;
    this.#device = null;
    const released = device === null ? Promise.resolve() : this.#deps.exports.release(device, this.#onLost);
    void released.then(() => this.#deps.onClosed(this));
  }

  #waitForClient(): void {
    const { clock, log } = this.#deps;
    this.#stopWaiting();
    this.#waitingSinceMs = clock.monotonicMs();
    this.#timer = clock.setTimer(Math.max(0, this.#patienceMs), () => {
      log.debug("The client did not finish its negotiation in time.", { limitMs: negotiationMsMax });
      this.#socket.destroy();
    });
  }

  #stopWaiting(): void {
    if (this.#timer === null) return;
    this.#timer.cancel();
    this.#timer = null;
    if (this.#transmission === null)
      this.#patienceMs -= this.#deps.clock.monotonicMs() - this.#waitingSinceMs;
  }
}
