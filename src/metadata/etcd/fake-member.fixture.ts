// An etcd member for tests that answers as it is told: gRPC on a port of loopback, without any store.

import { createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import { encodeMessage, MessageReader } from "./grpc-codec.ts";
import { FieldWriter } from "./protobuf-codec.ts";

export interface FakeCall {
  /** The last part of the path, such as Txn. */
  readonly method: string;
  readonly message: Uint8Array;
  readonly headers: Readonly<Record<string, unknown>>;
}

export type FakeAnswer =
  | { readonly message: Uint8Array }
  | { readonly status: number; readonly text: string }
  | { readonly reset: number }
  | { readonly http: number }
  | "hang"
  | "drop the connection";

export class FakeMember {
  readonly calls: FakeCall[] = [];
  readonly port: number;
  readonly #server: Http2Server;
  readonly #sessions: Set<ServerHttp2Session>;
  /** Streams that stay open, by method. */
  readonly streams = new Map<string, ServerHttp2Stream>();
  clusterId = 7;
  revision = 10;
  /** Comes first; null: what a healthy member answers. */
  behave: (call: FakeCall) => FakeAnswer | null = () => null;

  static start(): Promise<FakeMember> {
    const server = createServer();
    return new Promise((resolve) => {
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as { port: number };
        resolve(new FakeMember(server, port));
      });
    });
  }

  private constructor(server: Http2Server, port: number) {
    this.#server = server;
    this.port = port;
    this.#sessions = new Set();
    server.on("session", (session) => {
      this.#sessions.add(session);
      session.on("error", () => {});
      session.on("close", () => this.#sessions.delete(session));
    });
    server.on("stream", (stream, headers) => {
      const reader = new MessageReader();
      const method = String(headers[":path"]).split("/").at(-1)!;
      stream.on("error", () => {});
      stream.on("data", (chunk: Uint8Array) => {
        for (const message of reader.push(chunk)) this.#answer(stream, { method, message, headers });
      });
    });
  }

  get connections(): number {
    return this.#sessions.size;
  }

  called(method: string): FakeCall[] {
    return this.calls.filter((call) => call.method === method);
  }

  #answer(stream: ServerHttp2Stream, call: FakeCall): void {
    this.calls.push(call);
    const answer = this.behave(call) ?? this.#healthy(call);
    if (answer === "hang") {
      this.streams.set(call.method, stream);
      return;
    }
    if (answer === "drop the connection") {
      stream.session?.destroy();
      return;
    }
    if ("reset" in answer) {
      stream.close(answer.reset);
      return;
    }
    if ("http" in answer) {
      stream.respond({ ":status": answer.http, "content-type": "text/plain" });
      stream.end("no");
      return;
    }
    if ("status" in answer) {
      stream.respond(
        {
          "content-type": "application/grpc",
          "grpc-status": answer.status,
          "grpc-message": encodeURIComponent(answer.text),
        },
        { endStream: true },
      );
      return;
    }
    stream.respond({ "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.end(encodeMessage(answer.message));
  }

  header(): Uint8Array {
    return new FieldWriter().int(1, this.clusterId).int(3, this.revision).finish();
  }

  #healthy({ method }: FakeCall): FakeAnswer {
    const answer = new FieldWriter().message(1, this.header());
    switch (method) {
      case "Txn":
        return { message: answer.bool(2, true).finish() };
      case "Authenticate":
        return { message: answer.text(2, `token-${this.called("Authenticate").length}`).finish() };
      case "LeaseGrant":
      case "LeaseKeepAlive":
        return { message: answer.int(3, 10).finish() };
      default:
        return { message: answer.finish() };
    }
  }

  /** Ends with every connection dropped. */
  async close(): Promise<void> {
    for (const session of this.#sessions) session.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
