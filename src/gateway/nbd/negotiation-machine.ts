// NegotiationMachine: one connection's handshake, from the greeting to the chosen export. Bytes go in by `push`,
// bytes come out of `takeOutput`, and `next` says what the shell has to do. No I/O, no time.
//
// Invariants: every option gets exactly one final reply (EXPORT_NAME has none of its own and ends the session when
// refused); while the shell is asked for something no further byte is looked at; at most one option's data is held.

import type { ErrorCode } from "#model";
import { assert } from "#model";
import type { BlockDeviceInfo } from "#volume";
import { optionErrorReply } from "./errors.ts";
import type { ExportSummary } from "./exports.ts";
import { optionBytesMax, optionsMax, payloadBytesMax } from "./limits.ts";
import type { InfoRequest, OptionReplyType } from "./nbd-codec.ts";
import {
  clientFlagsBytes,
  decodeClientFlags,
  decodeInfoRequest,
  decodeOptionHeader,
  decodeString,
  encodeExportNameReply,
  encodeGreeting,
  encodeInfoBlockSize,
  encodeInfoExport,
  encodeInfoText,
  encodeOptionError,
  encodeOptionReply,
  encodeServerReply,
  information,
  option,
  optionHeaderBytes,
  reply,
  transmissionFlag,
} from "./nbd-codec.ts";

export type NegotiationStep =
  /** Wait for bytes of the client. */
  | { readonly kind: "more" }
  /** Answer with `listed` or `refused`. */
  | { readonly kind: "list" }
  /** Look the export up, without opening it, and answer with `found` or `refused`. */
  | { readonly kind: "describe"; readonly name: string }
  /** Open the export and answer with `found` or `refused`. */
  | { readonly kind: "open"; readonly name: string }
  /** Requests follow, on the export last opened. */
  | { readonly kind: "transmit"; readonly structured: boolean }
  /** Send what there is to send and close. `garbage`: this was no NBD client, or a broken one. */
  | { readonly kind: "close"; readonly reason: string; readonly garbage: boolean };

type State = "flags" | "option" | "data" | "skip" | "asked" | "transmit" | "closed";

/** What the option being answered wants from the catalogue. */
interface Pending {
  readonly option: number;
  readonly request: InfoRequest;
}

const more: NegotiationStep = { kind: "more" };

export class NegotiationMachine {
  #state: State = "flags";
  #input: Buffer = Buffer.alloc(0);
  #output: Buffer[] = [encodeGreeting()];
  #noZeroes = false;
  #structured = false;
  #options = 0;
  #option = 0;
  #length = 0;
  #pending: Pending | null = null;
  #step: NegotiationStep = more;

  /** Bytes of the client. What is held is bounded by one option and one read of the socket. */
  push(bytes: Buffer): void {
    this.#input = this.#input.length === 0 ? bytes : Buffer.concat([this.#input, bytes]);
  }

  /** Goes on as far as the bytes allow. A step other than `more` is repeated until it has been answered. */
  next(): NegotiationStep {
    while (this.#advance());
    return this.#step;
  }

  /** What to send now, in order. */
  takeOutput(): Buffer {
    const output = this.#output;
    this.#output = [];
    return output.length === 1 ? output[0] : Buffer.concat(output);
  }

  /** After `transmit`: bytes of the client that already belong to its first requests. */
  takeRest(): Buffer {
    assert(this.#state === "transmit", "the rest belongs to transmission");
    return this.#input;
  }

  /** Answers `list`. */
  listed(exports: readonly ExportSummary[]): void {
    assert(this.#step.kind === "list", "the exports were asked for");
    if (this.#pending !== null) this.#chooseDefault(this.#pending, exports);
    else {
      for (const { name, description } of exports) this.#output.push(encodeServerReply(name, description));
      this.#answer(reply.ack);
    }
  }

  /** Answers `describe` and `open`. */
  found(info: BlockDeviceInfo): void {
    assert(this.#pending !== null && this.#step.kind !== "list", "an export was asked for");
    const { option: asked, request } = this.#pending;
    const flags = exportFlags(info, this.#structured);
    if (asked === option.exportName) {
      this.#output.push(encodeExportNameReply(info.sizeBytes, flags, this.#noZeroes));
    } else {
      this.#output.push(encodeInfoExport(asked, info.sizeBytes, flags));
      this.#output.push(...encodeWanted(asked, request.wants, info));
      this.#output.push(encodeOptionReply(asked, reply.ack));
    }
    if (asked === option.info) this.#awaitOption();
    else {
      this.#state = "transmit";
      this.#step = { kind: "transmit", structured: this.#structured };
    }
  }

  /** Answers whatever was asked with an error. */
  refused(code: ErrorCode, message: string): void {
    assert(this.#state === "asked", "something was asked for");
    this.#refuse(optionErrorReply(code), message);
  }

  #advance(): boolean {
    switch (this.#state) {
      case "flags":
        return this.#readFlags();
      case "option":
        return this.#readOption();
      case "data":
        return this.#readData();
      case "skip":
        return this.#skipData();
      default:
        return false;
    }
  }

  #take(count: number): Buffer | null {
    if (this.#input.length < count) return null;
    const bytes = this.#input.subarray(0, count);
    this.#input = this.#input.subarray(count);
    return bytes;
  }

  #readFlags(): boolean {
    const bytes = this.#take(clientFlagsBytes);
    if (bytes === null) return false;
    const flags = decodeClientFlags(bytes);
    if (flags === null) return this.#close("the client set flags that were not offered", true);
    this.#noZeroes = flags.noZeroes;
    this.#awaitOption();
    return true;
  }

  #readOption(): boolean {
    const bytes = this.#take(optionHeaderBytes);
    if (bytes === null) return false;
    const header = decodeOptionHeader(bytes);
    if (header === null) return this.#close("not an NBD option", true);
    this.#options += 1;
    if (this.#options > optionsMax) return this.#close(`more than ${optionsMax} options`, true);
    this.#option = header.option;
    this.#length = header.length;
    if (header.length > optionBytesMax) {
      this.#error(
        reply.errorTooBig,
        `the data of an option has at most ${optionBytesMax} bytes, not ${header.length}`,
      );
      return this.#close(`an option of ${header.length} bytes`, true);
    }
    this.#state = isKnown(header.option) ? "data" : "skip";
    return true;
  }

  #skipData(): boolean {
    if (this.#take(this.#length) === null) return false;
    this.#error(reply.errorUnsupported, `this server does not offer option ${this.#option}`);
    this.#awaitOption();
    return true;
  }

  #readData(): boolean {
    const data = this.#take(this.#length);
    if (data === null) return false;
    switch (this.#option) {
      case option.abort:
        this.#output.push(encodeOptionReply(option.abort, reply.ack));
        return this.#close("the client ended the negotiation", false);
      case option.structuredReply:
        if (data.length > 0) return this.#refuse(reply.errorInvalid, "STRUCTURED_REPLY takes no data");
        this.#structured = true;
        return this.#answer(reply.ack);
      case option.list:
        if (data.length > 0) return this.#refuse(reply.errorInvalid, "LIST takes no data");
        return this.#ask({ kind: "list" });
      case option.exportName: {
        const name = decodeString(data);
        if (name === null) return this.#close("the export's name is not UTF-8 of at most 4096 bytes", true);
        return this.#choose({ option: option.exportName, request: { name, wants: [] } });
      }
      default: {
        const request = decodeInfoRequest(data);
        if (request === null)
          return this.#refuse(reply.errorInvalid, "the data of INFO or GO does not add up");
        return this.#choose({ option: this.#option, request });
      }
    }
  }

  #choose(pending: Pending): boolean {
    this.#pending = pending;
    const { name } = pending.request;
    if (name === "") return this.#ask({ kind: "list" });
    return this.#askFor(pending, name);
  }

  /** The empty name stands for the one export there is. */
  #chooseDefault(pending: Pending, all: readonly ExportSummary[]): void {
    const exports = all.filter(({ byNameOnly = false }) => !byNameOnly);
    if (exports.length === 1) {
      this.#askFor(pending, exports[0].name);
      return;
    }
    const names = exports.map(({ name }) => name).join(", ");
    const message =
      exports.length === 0
        ? "nothing is served here at the moment"
        : `there is no default among ${exports.length} exports: name one of ${names}`;
    this.#refuse(reply.errorUnknown, message);
  }

  #askFor(pending: Pending, name: string): boolean {
    return this.#ask({ kind: pending.option === option.info ? "describe" : "open", name });
  }

  #ask(step: NegotiationStep): boolean {
    this.#state = "asked";
    this.#step = step;
    return false;
  }

  #answer(type: OptionReplyType): boolean {
    this.#output.push(encodeOptionReply(this.#option, type));
    this.#awaitOption();
    return true;
  }

  #refuse(type: OptionReplyType, message: string): boolean {
    if (this.#option === option.exportName) return this.#close(`EXPORT_NAME refused: ${message}`, false);
    this.#error(type, message);
    this.#awaitOption();
    return true;
  }

  #error(type: OptionReplyType, message: string): void {
    this.#output.push(encodeOptionError(this.#option, type, message));
  }

  #awaitOption(): void {
    this.#state = "option";
    this.#step = more;
    this.#pending = null;
  }

  #close(reason: string, garbage: boolean): boolean {
    this.#state = "closed";
    this.#step = { kind: "close", reason, garbage };
    this.#input = Buffer.alloc(0);
    return false;
  }
}

const known: ReadonlySet<number> = new Set(Object.values(option));

function isKnown(number: number): boolean {
  return known.has(number);
}

function encodeWanted(asked: number, wants: readonly number[], info: BlockDeviceInfo): Buffer[] {
  const replies: Buffer[] = [];
  if (wants.includes(information.name)) replies.push(encodeInfoText(asked, information.name, info.name));
  if (wants.includes(information.description) && info.description !== "") {
    replies.push(encodeInfoText(asked, information.description, info.description));
  }
  if (wants.includes(information.blockSize)) {
    replies.push(encodeInfoBlockSize(asked, 1, preferredBlockBytes(info), payloadBytesMax));
  }
  return replies;
}

/** A power of two of at least 512, as the protocol wants it, and no more than a payload. */
function preferredBlockBytes(info: BlockDeviceInfo): number {
  let bytes = 512;
  while (bytes < info.preferredBytes && bytes < payloadBytesMax) bytes *= 2;
  return bytes;
}

function exportFlags(info: BlockDeviceInfo, structured: boolean): number {
  return (
    transmissionFlag.hasFlags |
    transmissionFlag.sendFlush |
    transmissionFlag.sendFua |
    transmissionFlag.sendTrim |
    transmissionFlag.sendWriteZeroes |
    transmissionFlag.canMultiConn |
    transmissionFlag.sendCache |
    (structured ? transmissionFlag.sendDf : 0) |
    (info.readOnly ? transmissionFlag.readOnly : 0)
  );
}
