// The flags of `torus up`, checked. Everything wrong is said in one line before anything is started.

import { resolve } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { requireName } from "#metadata";
import { formatBytes, messageOf, pageBytes, parseBytes, volumeBytesMax } from "#model";

export interface UpConfig {
  readonly peers: number;
  readonly sizeBytes: number;
  /** Absolute. */
  readonly dataDirectory: string;
  /** Loopback TCP port of the NBD server; 0 for any free one. */
  readonly port: number;
  readonly volume: string;
  /** What each peer may use of the disk: bytes with a unit, or a share such as 25%. */
  readonly peerSize: string | null;
}

const peersMax = 16;

const examples = `
Examples:
  npm run up                                      3 peers, volume demo of 10 GiB, data in ./torus-data
  npm run up -- --size 100GiB --peers 5           a larger cluster
  npm run up -- --data /tmp/t --listen 10810      a second one beside the first
`;

/** Turns what a parser throws into commander's usage error. */
function usage<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      throw new InvalidArgumentError(messageOf(error));
    }
  };
}

function parseCount(text: string, what: string, min: number, max: number): number {
  const count = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(count >= min && count <= max))
    throw new Error(`${what} must be a whole number from ${min} to ${max}.`);
  return count;
}

function parseVolumeSize(text: string): number {
  const bytes = parseBytes(text, "the volume's size");
  if (bytes % pageBytes !== 0 || bytes > volumeBytesMax) {
    throw new Error(
      `The volume's size must be a multiple of ${formatBytes(pageBytes)}, at most ${formatBytes(volumeBytesMax)}.`,
    );
  }
  return bytes;
}

function parsePeerSize(text: string): string {
  const share = /^(\d{1,3})%$/.exec(text);
  if (share === null) return String(parseBytes(text, "the peer's size"));
  parseCount(share[1], "A share of the disk", 1, 100);
  return text;
}

export function parseConfig(argv: readonly string[]): UpConfig {
  const command = new Command("torus up")
    .usage("[options]")
    .description(
      "Starts a whole Torus cluster on this machine and serves a volume over NBD. Ctrl-C stops it; data stays.",
    )
    .option(
      "--peers <count>",
      `storage peers, 1 to ${peersMax}`,
      usage((text) => parseCount(text, "It", 1, peersMax)),
      3,
    )
    .option("--size <size>", "size of the volume when it is made (default: 10GiB)", usage(parseVolumeSize))
    .option("--data <directory>", "where everything is kept", "./torus-data")
    .option(
      "--listen <port>",
      "TCP port on 127.0.0.1, 0 for any",
      usage((text) => parseCount(text, "It", 0, 65_535)),
      10_809,
    )
    .option(
      "--volume <name>",
      "name of the volume",
      usage((name) => requireName(name, "volume")),
      "demo",
    )
    .option(
      "--peer-size <size>",
      "what each peer may use, such as 20GiB or 25% (default: a fair share of 80%)",
      usage(parsePeerSize),
    )
    .addHelpText("after", examples)
    .allowExcessArguments(false)
    .parse([...argv], { from: "user" });
  const options = command.opts();
  return {
    peers: options["peers"],
    sizeBytes: options["size"] ?? parseVolumeSize("10GiB"),
    dataDirectory: resolve(options["data"]),
    port: options["listen"],
    volume: options["volume"],
    peerSize: options["peerSize"] ?? null,
  };
}
