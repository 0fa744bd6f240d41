// Who may talk to whom: the server's answer to a hello, and the client's judgement of a welcome. Pure.
//
// A wrong peer at an address is dangerous: "absent" from it would be a lie about another disk. So both sides name
// cluster and peer, and both check.

import type { PeerId } from "#model";
import { TorusError } from "#model";
import { errorCodeOf, errorNumbers } from "./wire/error-codec.ts";
import type { Handshake, Hello, Refusal, Welcome } from "./wire/handshake-codec.ts";

/**
 * Versions of the frames after the handshake.
 *   1  the first: append, sync, read, seal, put, stat, list, fence, usage, ping
 *   2  confirm: a peer vouches for a block another is about to delete; testify: it tells what it has seen of the metadata; an append
 *      may use the reserve, and usage tells what is left
 *   3  fence: it says by which metadata, and which head in it, it was decided
 *   4  locate: it tells readers on its machine where in its file a block lies
 */
export const protocolVersionMin = 1;
export const protocolVersionMax = 4;

/** Who answered, as of one connection. */
export interface PeerIdentity {
  readonly peer: PeerId;
  readonly clusterId: string;
  /** Raised durably each time the peer starts. */
  readonly incarnation: number;
  readonly version: number;
}

export function createHello(clusterId: string, peer: PeerId): Hello {
  return { kind: "hello", versionMin: protocolVersionMin, versionMax: protocolVersionMax, clusterId, peer };
}

/** What a server with `identity` says to `hello`. */
export function answerHello(hello: Hello, identity: Omit<PeerIdentity, "version">): Welcome | Refusal {
  const version = Math.min(hello.versionMax, protocolVersionMax);
  if (version < hello.versionMin || version < protocolVersionMin) {
    return refusal(
      `peer ${identity.peer} speaks protocol versions ${protocolVersionMin} to ${protocolVersionMax}, not ${hello.versionMin} to ${hello.versionMax}: upgrade the older side`,
    );
  }
  if (hello.clusterId !== identity.clusterId) {
    return refusal(`peer ${identity.peer} belongs to cluster ${identity.clusterId}, not ${hello.clusterId}`);
  }
  if (hello.peer !== "" && hello.peer !== identity.peer) {
    return refusal(`peer ${identity.peer} is at this address, not peer ${hello.peer}`);
  }
  return { kind: "welcome", version, ...identity };
}

function refusal(message: string): Refusal {
  return { kind: "refusal", error: errorNumbers.protocol, message };
}

/** Who `answer` says it is, if that answers `hello`; throws the refusal, or `protocol` for an answer that does not fit. */
export function judgeAnswer(hello: Hello, answer: Handshake): PeerIdentity {
  if (answer.kind === "refusal") {
    throw new TorusError(errorCodeOf(answer.error) ?? "protocol", `it refused: ${answer.message}`);
  }
  if (answer.kind !== "welcome") throw new TorusError("protocol", "it answered a hello with a hello");
  const { version, clusterId, peer, incarnation } = answer;
  if (version < hello.versionMin || version > hello.versionMax) {
    throw new TorusError("protocol", `it chose protocol version ${version}, which was not offered`);
  }
  if (clusterId !== hello.clusterId || (hello.peer !== "" && peer !== hello.peer)) {
    throw new TorusError(
      "protocol",
      `it is peer ${peer} of cluster ${clusterId}, not peer ${hello.peer} of cluster ${hello.clusterId}`,
    );
  }
  return { peer, clusterId, incarnation, version };
}
