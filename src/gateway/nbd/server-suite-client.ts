// RawClient: the client's side of NBD, byte by byte, for tests of the server: it says exactly what a test wants to
// say, right or wrong.

import type { Socket } from "node:net";
import { connect } from "node:net";
import type { ConnectionOptions } from "node:tls";
import { connect as connectTls } from "node:tls";
import type { ListenAddress } from "./listener.ts";
import type { RequestFields } from "./nbd-codec.ts";
import { command, commandFlag, encodeRequest, option } from "./nbd-codec.ts";

export interface OptionReply {
  readonly type: number;
  readonly data: Buffer;
}

export class RawClient {
  socket: Socket;
  /** Resolves when the server has closed its side, or broke the connection. */
  readonly closed: Promise<void>;
  #held: Buffer = Buffer.alloc(0);
  #wanted = 0;
  #wake: (() => void) | null = null;
  #over = false;
  #onOver: () => void = () => {};

  private constructor(socket: Socket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => {
      this.#onOver = () => {
        this.#over = true;
        this.#wake?.();
        resolve();
      };
    });
    socket.on("end", this.#onOver);
    socket.on("close", this.#onOver);
    socket.on("error", () => {});
    socket.on("data", this.#onData);
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#held = Buffer.concat([this.#held, chunk]);
    if (this.#held.length >= this.#wanted) this.#wake?.();
  };

  /** STARTTLS, and the handshake; rejects as the handshake fails. */
  async secure(options: ConnectionOptions): Promise<void> {
    const [answer] = await this.option(option.startTls);
    if (answer.type !== 1) throw new Error(`STARTTLS was refused: ${answer.data}`);
    this.socket.removeListener("data", this.#onData);
    const secure = connectTls({ ...options, socket: this.socket });
    await new Promise<void>((resolve, reject) => {
      secure.once("secureConnect", resolve);
      secure.on("error", reject);
      this.socket.once("close", () => reject(new Error("closed")));
    });
    this.socket = secure;
    secure.on("end", this.#onOver);
    secure.on("data", this.#onData);
  }

  static open(address: ListenAddress): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const where =
        address.kind === "unix" ? { path: address.path } : { host: address.host, port: address.port };
      const socket = connect({ ...where, allowHalfOpen: true }, () => resolve(new RawClient(socket)));
      socket.on("error", reject);
    });
  }

  /** Greeted, flags sent, the export entered by GO. */
  static async enter(address: ListenAddress, name: string, structured = false): Promise<RawClient> {
    const client = await RawClient.open(address);
    await client.enterExport(name, structured);
    return client;
  }

  /** Greets, sends flags, and enters the export by GO. Rejects when it is refused. */
  async enterExport(name: string, structured = false): Promise<void> {
    await this.greet();
    if (structured) await this.option(option.structuredReply);
    const replies = await this.option(option.go, goData(name));
    const last = replies[replies.length - 1];
    if (last.type !== 1) throw new Error(`GO was refused: ${last.data}`);
  }

  /** Exactly `count` bytes, or an error when the server closes before. */
  async read(count: number): Promise<Buffer> {
    while (this.#held.length < count) {
      if (this.#over) throw new Error(`closed after ${this.#held.length} of ${count} bytes`);
      await new Promise<void>((resolve) => {
        this.#wanted = count;
        this.#wake = resolve;
      });
      this.#wake = null;
    }
    const bytes = this.#held.subarray(0, count);
    this.#held = this.#held.subarray(count);
    return bytes;
  }

  write(bytes: Buffer): void {
    this.socket.write(bytes);
  }

  async greet(flags = 3): Promise<Buffer> {
    const greeting = await this.read(18);
    this.write(Buffer.from([0, 0, 0, flags]));
    return greeting;
  }

  sendOption(number: number, data: Buffer = Buffer.alloc(0)): void {
    const head = Buffer.from("49484156454f50540000000000000000", "hex");
    head.writeUInt32BE(number, 8);
    head.writeUInt32BE(data.length, 12);
    this.write(Buffer.concat([head, data]));
  }

  /** Sends an option and gives all its replies; the last is an acknowledgement or an error. */
  async option(number: number, data?: Buffer): Promise<OptionReply[]> {
    this.sendOption(number, data);
    const replies: OptionReply[] = [];
    for (;;) {
      const head = await this.read(20);
      const reply = { type: head.readUInt32BE(12), data: await this.read(head.readUInt32BE(16)) };
      replies.push(reply);
      if (reply.type === 1 || reply.type >= 0x80000000) return replies;
    }
  }

  send(request: Partial<RequestFields>, payload?: Buffer): void {
    const blank = {
      flags: 0,
      type: command.read,
      cookieHigh: 0,
      cookieLow: 0,
      offset: 0,
      length: payload?.length ?? 0,
    };
    this.write(encodeRequest({ ...blank, ...request }, payload));
  }

  /** A simple reply: its error and the low half of its cookie. */
  async simpleReply(): Promise<{ errno: number; cookie: number }> {
    const head = await this.read(16);
    if (head.readUInt32BE(0) !== 0x67446698) throw new Error(`no simple reply: ${head.toString("hex")}`);
    return { errno: head.readUInt32BE(4), cookie: head.readUInt32BE(12) };
  }

  /** An extended request; a payload is said to be one. */
  sendExtended(request: Partial<RequestFields>, payload?: Buffer): void {
    const blank = { flags: 0, type: command.read, cookieHigh: 0, cookieLow: 0, offset: 0, length: 0 };
    const flags = (request.flags ?? 0) | (payload === undefined ? 0 : commandFlag.payloadLength);
    const length = payload?.length ?? request.length ?? 0;
    this.write(encodeRequest({ ...blank, ...request, flags, length }, payload, true));
  }

  /** One extended chunk. */
  async extendedChunk(): Promise<{ type: number; cookie: number; isDone: boolean; body: Buffer }> {
    const head = await this.read(32);
    if (head.readUInt32BE(0) !== 0x6e8a278c) throw new Error(`no extended chunk: ${head.toString("hex")}`);
    const body = await this.read(Number(head.readBigUInt64BE(24)));
    const isDone = head.readUInt16BE(4) === 1;
    return { type: head.readUInt16BE(6), cookie: head.readUInt32BE(12), isDone, body };
  }

  /** One structured chunk. */
  async chunk(): Promise<{ type: number; cookie: number; body: Buffer }> {
    const head = await this.read(20);
    if (head.readUInt32BE(0) !== 0x668e33ef) throw new Error(`no chunk: ${head.toString("hex")}`);
    const body = await this.read(head.readUInt32BE(16));
    return { type: head.readUInt16BE(6), cookie: head.readUInt32BE(12), body };
  }

  destroy(): void {
    this.socket.destroy();
  }
}

/** Data of LIST_META_CONTEXT and SET_META_CONTEXT. */
export function contextData(name: string, queries: readonly string[]): Buffer {
  const text = (content: string) => {
    const bytes = Buffer.alloc(4 + content.length);
    bytes.writeUInt32BE(content.length, 0);
    bytes.write(content, 4);
    return bytes;
  };
  const count = Buffer.alloc(4);
  count.writeUInt32BE(queries.length, 0);
  return Buffer.concat([text(name), count, ...queries.map(text)]);
}

/** Data of INFO and GO. */
export function goData(name: string, wants: readonly number[] = []): Buffer {
  const nameBytes = Buffer.from(name);
  const data = Buffer.alloc(6 + nameBytes.length + wants.length * 2);
  data.writeUInt32BE(nameBytes.length, 0);
  nameBytes.copy(data, 4);
  data.writeUInt16BE(wants.length, 4 + nameBytes.length);
  for (const [index, want] of wants.entries()) data.writeUInt16BE(want, 6 + nameBytes.length + index * 2);
  return data;
}
