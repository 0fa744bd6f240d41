// The command line of torusblk: its commands, their options and help.

import { Argument, Command, Option } from "commander";
import { completionScript, shells } from "../shared/completion.ts";
import { addMetadataOptions } from "../shared/metadata-options.ts";
import type { ProgramIo } from "../shared/program-io.ts";
import { prepareProgram } from "../shared/run-program.ts";
import { versionLine } from "../shared/version.ts";
import type { GlobalConfig, GlobalFlags } from "./config.ts";
import { flagDefaults, globalConfig, parseHostPort, parseReconnect, parseSectorBytes } from "./config.ts";
import type { NbdConfig } from "./nbd.ts";
import type { NbdserveConfig } from "./nbdserve.ts";
import type { TlsFlags } from "./tls-options.ts";
import { tlsModes, tlsOptions } from "./tls-options.ts";

/** What the commands do, given their options. */
export interface Actions {
  nbdserve(config: NbdserveConfig): Promise<void>;
  nbd(config: NbdConfig): Promise<void>;
  detach(device: string, config: GlobalConfig): Promise<void>;
}

export function buildProgram(actions: Actions, io: ProgramIo): Command {
  const program = prepareProgram(new Command("torusblk"), io).description(
    "Torus volumes as block devices: over the network with NBD, or in this machine's kernel",
  );
  addMetadataOptions(program)
    .option("--http <host:port>", "serve metrics and health here")
    .option("--log-level <level>", "debug, info, warn, error or silent", flagDefaults.logLevel)
    .option(
      "--force",
      "take volumes from whoever holds them, who loses them; with --detach: also a device in use",
      false,
    )
    .option(
      "--write-cache-size <size>",
      "memory for writes on their way, per volume",
      flagDefaults.writeCacheSize,
    )
    .option("--map-cache-size <size>", "memory for the maps of each volume", flagDefaults.mapCacheSize)
    .option(
      "--read-cache-size <size>",
      "memory for data read of peers on other machines, all volumes together; 0: none",
      flagDefaults.readCacheSize,
    )
    .option(
      "--memory <size>",
      "what the process takes of memory at most, all in all; clients wait, and no more volumes are attached than it is enough for (default: no bound)",
    )
    .option("--lease <time>", "how long a volume stays ours when we do not answer", flagDefaults.lease)
    .option(
      "--exit-with-parent",
      "stop when the process that started this one ends; leave Ctrl-C to it",
      false,
    );
  addNbdserve(program, actions, io);
  addNbd(program, actions, io);
  program
    .command("version")
    .description("print the version")
    .action(() => io.out(`${versionLine("torusblk")}\n`));
  program
    .command("completion")
    .description("print a script that completes torusblk's command line")
    .addArgument(new Argument("<shell>", "the shell it is for").choices(shells))
    .action((shell: string) => io.out(completionScript(program, shell)));
  return program;
}

function addNbdserve(program: Command, actions: Actions, io: ProgramIo): void {
  program
    .command("nbdserve")
    .summary("serve every volume over NBD")
    .description(
      "Serves every volume of the cluster as an NBD export by its name. A volume is attached when the first client " +
        "opens it and detached a few seconds after the last one leaves; volumes that are named are attached now and stay so.",
    )
    .argument("[volume...]", "volumes to attach now")
    .option("-l, --listen <host:port>", `where to listen (default: ${flagDefaults.listen}, or only --unix)`)
    .option("--unix <path>", "listen on a unix socket of this path")
    .addOption(
      new Option(
        "--tls <mode>",
        "encryption: off, on (as clients like), require (default: require with one of the next two)",
      ).choices(tlsModes),
    )
    .option(
      "--tls-certificates <directory>",
      "TLS with server-cert.pem and server-key.pem of this directory, and ca-cert.pem to verify clients",
    )
    .option("--tls-psk <file>", "TLS with the keys in this file, one NAME:HEX a line, as psktool makes it")
    .option("--tls-verify-peer", "clients need a certificate that ca-cert.pem has signed")
    .action(async (volumes: string[], own: NbdserveFlags, command: Command) => {
      const listen = own.listen ?? (own.unix === undefined ? flagDefaults.listen : undefined);
      await actions.nbdserve({
        ...globalConfig(command.optsWithGlobals<GlobalFlags>(), io),
        volumes: [...new Set(volumes)],
        listen: listen === undefined ? null : parseHostPort(listen, "--listen"),
        unixPath: own.unix ?? null,
        tls: tlsOptions(own),
        readTls: () => tlsOptions(own),
      });
    });
}

interface NbdserveFlags extends TlsFlags {
  readonly listen?: string;
  readonly unix?: string;
}

interface NbdFlags {
  readonly detach?: string;
  readonly sectorSize: string;
  readonly reconnectTimeout: string;
}

function addNbd(program: Command, actions: Actions, io: ProgramIo): void {
  program
    .command("nbd")
    .summary("attach a volume to this machine's kernel")
    .description(
      "Makes a volume a block device of this machine, /dev/nbdN, and stays in the foreground while it is one. Needs " +
        "the kernel's nbd module, and root. A device that is in use when this ends, or is killed, waits for the next call with the same volume.",
    )
    .argument("[volume]", "the volume to attach")
    .argument("[device]", "the device to use (default: the first that is free)")
    .option("-d, --detach <device>", "detach this device; the process that serves it then ends")
    .option(
      "--reconnect-timeout <time>",
      "how long what is asked of the device waits when nothing serves it, before it fails",
      flagDefaults.reconnect,
    )
    .option("--sector-size <bytes>", "512, 1024, 2048 or 4096", flagDefaults.sectorSize)
    .action(
      async (volume: string | undefined, device: string | undefined, own: NbdFlags, command: Command) => {
        const config = globalConfig(command.optsWithGlobals<GlobalFlags>(), io);
        if (own.detach !== undefined) {
          if (volume !== undefined) command.error("error: --detach takes a device and no volume");
          await actions.detach(own.detach, config);
          return;
        }
        if (volume === undefined) command.error("error: missing required argument 'volume'");
        await actions.nbd({
          ...config,
          volume: volume as string,
          device: device ?? null,
          sectorBytes: parseSectorBytes(own.sectorSize),
          reconnectSeconds: parseReconnect(own.reconnectTimeout),
        });
      },
    );
}
