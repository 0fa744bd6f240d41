// NegotiationMachine: one connection's handshake, from the greeting to the chosen export. Bytes go in by `push`,
// bytes come out of `takeOutput`, and `next` says what the shell has to do. No I/O, no time.
//
// Once TLS was agreed on nothing that came before it counts, and nothing that came with the request for it is looked at:
// whoever stands between could have put it there.
//
// Invariants: every option gets exactly one final reply (EXPORT_NAME has none of its own and ends the session when
// refused); while the shell is asked for something no further byte is looked at; at most one option's data is held.

import type { ErrorCode } from "#model";
import { assert } from "#model";
import type { BlockDeviceInfo } from "#volume";
import { optionErrorReply } from "./errors.ts";
import { encodeWanted, exportFlags } from "./export-offer.ts";
import type { ExportSummary } from "./exports.ts";
import { contextsMax, optionBytesMax, optionsMax } from "./limits.ts";
import type { MetaContext } from "./meta-contexts.ts";
import { isQuery, listContexts, selectContexts } from "./meta-contexts.ts";
import type { HeaderStyle, OptionReplyType } from "./nbd-codec.ts";
import {
  clientFlagsBytes,
  decodeClientFlags,
  decodeContextRequest,
  decodeInfoRequest,
  decodeOptionHeader,
  decodeString,
  encodeContextReply,
  encodeExportNameReply,
  encodeGreeting,
  encodeInfoExport,
  encodeOptionError,
  encodeOptionReply,
  encodeServerReply,
  option,
  optionHeaderBytes,
  reply,
} from "./nbd-codec.ts";

export type NegotiationStep =
  /** Wait for bytes of the client. */
  | { readonly kind: "more" }
  /** Answer with `listed` or `refused`. */
  | { readonly kind: "list" }
  /** Look the export up, without opening it, and answer with `found` or `refused`. */
  | { readonly kind: "describe"; readonly name: string }
  /** Say what may be asked of the export's ranges, without opening it: answer with `listedContexts` or `refused`. */
  | { readonly kind: "contexts"; readonly name: string }
  /** Open the export and answer with `found` or `refused`. */
  | { readonly kind: "open"; readonly name: string }
  /** Send what there is to send, put TLS on the connection and call `secured`. */
  | { readonly kind: "startTls" }
  /** Requests follow, on the export last opened. */
  | { readonly kind: "transmit"; readonly style: HeaderStyle; readonly contexts: readonly MetaContext[] }
  /** Send what there is to send and close. `garbage`: this was no NBD client, or a broken one. */
  | { readonly kind: "close"; readonly reason: string; readonly garbage: boolean };

type State = "flags" | "option" | "data" | "skip" | "asked" | "transmit" | "closed";

/** What the option being answered wants from the catalogue. */
interface Pending {
  readonly option: number;
  /** Of the export; empty for the one there is. */
  readonly name: string;
  readonly wants: readonly number[];
  readonly queries: readonly string[];
}

/** What SET_META_CONTEXT chose last, for one export. */
interface Chosen {
  readonly name: string;
  readonly contexts: readonly MetaContext[];
}

/** What the server has to do with TLS: nothing, what the client likes, or nothing without. */
export type TlsPolicy = "off" | "on" | "require";

const more: NegotiationStep = { kind: "more" };

export class NegotiationMachine {
  #state: State = "flags";
  #input: Buffer = Buffer.alloc(0);
  #output: Buffer[] = [encodeGreeting()];
  #noZeroes = false;
  #style: HeaderStyle = "simple";
  #chosen: Chosen | null = null;
  #options = 0;
  #option = 0;
  #length = 0;
  #pending: Pending | null = null;
  #step: NegotiationStep = more;
  readonly #tls: TlsPolicy;
  #isSecure = false;

  constructor(options: { readonly tls: TlsPolicy } = { tls: "off" }) {
    this.#tls = options.tls;
  }

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
    const { option: asked, wants } = this.#pending;
    const contexts = this.#chosen?.name === info.name ? this.#chosen.contexts : [];
    const flags = exportFlags(info, this.#style, contexts);
    if (asked === option.exportName) {
      this.#output.push(encodeExportNameReply(info.sizeBytes, flags, this.#noZeroes));
    } else {
      this.#output.push(encodeInfoExport(asked, info.sizeBytes, flags));
      this.#output.push(...encodeWanted(asked, wants, info));
      this.#output.push(encodeOptionReply(asked, reply.ack));
    }
    if (asked === option.info) this.#awaitOption();
    else {
      this.#state = "transmit";
      this.#step = { kind: "transmit", style: this.#style, contexts };
    }
  }

  /** Answers `contexts` with the names of all of them. */
  listedContexts(names: readonly string[]): void {
    assert(this.#pending !== null && this.#step.kind === "contexts", "contexts were asked for");
    const { option: asked, queries } = this.#pending;
    if (asked === option.listMetaContext) {
      for (const name of listContexts(names, queries)) this.#output.push(encodeContextReply(asked, 0, name));
      this.#answer(reply.ack);
      return;
    }
    const contexts = selectContexts(names, queries);
    if (contexts.length > contextsMax) {
      this.#refuse(
        reply.errorTooBig,
        `a connection has at most ${contextsMax} contexts, not ${contexts.length}`,
      );
      return;
    }
    this.#chosen = { name: this.#step.name, contexts };
    for (const { id, name } of contexts) this.#output.push(encodeContextReply(asked, id, name));
    this.#answer(reply.ack);
  }

  /** Answers `startTls`: bytes are those of TLS from now on. */
  secured(): void {
    assert(this.#step.kind === "startTls" && this.#input.length === 0, "TLS begins with nothing left over");
    this.#isSecure = true;
    this.#style = "simple";
    this.#chosen = null;
    this.#awaitOption();
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
    if (this.#needsTls && header.option === option.exportName)
      return this.#close("EXPORT_NAME without TLS, which is required", false);
    this.#state = this.#isOffered(header.option) ? "data" : "skip";
    return true;
  }

  get #needsTls(): boolean {
    return this.#tls === "require" && !this.#isSecure;
  }

  #isOffered(number: number): boolean {
    if (number === option.startTls) return this.#tls !== "off";
    if (this.#needsTls) return number === option.abort;
    return known.has(number);
  }

  #skipData(): boolean {
    if (this.#take(this.#length) === null) return false;
    if (this.#needsTls) this.#error(reply.errorTlsRequired, "this server wants TLS: begin with STARTTLS");
    else this.#error(reply.errorUnsupported, `this server does not offer option ${this.#option}`);
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
      case option.startTls:
        return this.#startTls(data);
      case option.structuredReply:
        return this.#chooseStyle("structured", data);
      case option.extendedHeaders:
        return this.#chooseStyle("extended", data);
      case option.listMetaContext:
      case option.setMetaContext:
        return this.#askContexts(data);
      case option.list:
        if (data.length > 0) return this.#refuse(reply.errorInvalid, "LIST takes no data");
        return this.#ask({ kind: "list" });
      case option.exportName: {
        const name = decodeString(data);
        if (name === null) return this.#close("the export's name is not UTF-8 of at most 4096 bytes", true);
        if (this.#style === "extended")
          return this.#close("EXPORT_NAME after extended headers were agreed on", true);
        return this.#choose({ option: option.exportName, name, wants: [], queries: [] });
      }
      default: {
        const request = decodeInfoRequest(data);
        if (request === null)
          return this.#refuse(reply.errorInvalid, "the data of INFO or GO does not add up");
        return this.#choose({ option: this.#option, ...request, queries: [] });
      }
    }
  }

  #startTls(data: Buffer): boolean {
    if (data.length > 0 || this.#isSecure) {
      const message = this.#isSecure ? "there is TLS already" : "STARTTLS takes no data";
      return this.#refuse(reply.errorInvalid, message);
    }
    if (this.#input.length > 0) return this.#close("bytes behind STARTTLS that TLS does not protect", true);
    this.#output.push(encodeOptionReply(option.startTls, reply.ack));
    return this.#ask({ kind: "startTls" });
  }

  #chooseStyle(style: HeaderStyle, data: Buffer): boolean {
    if (data.length > 0) return this.#refuse(reply.errorInvalid, `option ${this.#option} takes no data`);
    if (style === "structured" && this.#style === "extended") {
      const message = "extended headers have been agreed on, and take the place of structured replies";
      return this.#refuse(reply.errorExtendedHeadersRequired, message);
    }
    this.#style = style;
    return this.#answer(reply.ack);
  }

  #askContexts(data: Buffer): boolean {
    if (this.#option === option.setMetaContext) this.#chosen = null;
    const request = decodeContextRequest(data);
    if (request === null || !request.queries.every(isQuery)) {
      return this.#refuse(
        reply.errorInvalid,
        "the data of LIST_META_CONTEXT or SET_META_CONTEXT does not add up",
      );
    }
    if (this.#style === "simple" && this.#option === option.setMetaContext) {
      const message = "contexts need structured replies or extended headers: agree on these first";
      return this.#refuse(reply.errorInvalid, message);
    }
    return this.#choose({ option: this.#option, ...request, wants: [] });
  }

  #choose(pending: Pending): boolean {
    this.#pending = pending;
    if (pending.name === "") return this.#ask({ kind: "list" });
    return this.#askFor(pending, pending.name);
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

  #askFor({ option: asked }: Pending, name: string): boolean {
    if (asked === option.info) return this.#ask({ kind: "describe", name });
    const isOpening = asked === option.go || asked === option.exportName;
    return this.#ask({ kind: isOpening ? "open" : "contexts", name });
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
