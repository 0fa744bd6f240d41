// How the programs find the metadata service: --metadata, else TORUS_METADATA, else the profile asked for, else the profile
// "default", else a database in the home directory. The three programs share these flags and this order.

import { join } from "node:path";
import { type Command, Option } from "commander";
import { metadataSurroundings } from "#client";
import type { Clock, Log } from "#host";
import { systemClock, systemRandom } from "#host/node";
import { ClusterMetadata, openMetadata } from "#metadata";
import { TorusError } from "#model";
import { defaultConfigFile, defaultProfile, readProfiles } from "./profile-config.ts";
import type { ProgramIo } from "./program-io.ts";

export interface MetadataFlags {
  readonly metadata?: string;
  readonly config?: string;
  readonly profile?: string;
}

export const metadataVariable = "TORUS_METADATA";

export function addMetadataOptions(program: Command): Command {
  return program
    .addOption(
      new Option(
        "-C, --metadata <url>",
        `metadata service, such as etcd://10.0.0.1:2379,10.0.0.2:2379 or sqlite:/var/lib/torus/metadata.db (or ${metadataVariable})`,
      ),
    )
    .addOption(new Option("--config <file>", "file of named profiles (default: ~/.torus/config.json)"))
    .addOption(new Option("--profile <name>", `profile of that file to use (default: "${defaultProfile}")`));
}

export function configFile(flags: MetadataFlags, io: ProgramIo): string {
  return flags.config ?? defaultConfigFile(io.home);
}

/** Throws `invalid-argument` when the profile asked for does not exist. */
export function metadataUrl(flags: MetadataFlags, io: ProgramIo): string {
  if (flags.metadata !== undefined) return flags.metadata;
  const variable = io.env[metadataVariable];
  if (flags.profile === undefined && variable) return variable;
  const file = configFile(flags, io);
  const profiles = readProfiles(file);
  const name = flags.profile ?? defaultProfile;
  const profile = Object.hasOwn(profiles, name) ? profiles[name] : undefined;
  if (profile !== undefined) return profile.metadata;
  if (flags.profile !== undefined || flags.config !== undefined) {
    const known = Object.keys(profiles);
    throw new TorusError(
      "invalid-argument",
      `there is no profile "${name}" in ${file} (${known.length === 0 ? "it has none" : `it has ${known.join(", ")}`}): make it with torusctl config --profile ${name} -C URL`,
    );
  }
  return `sqlite:${join(io.home, ".torus", "metadata.db")}`;
}

/** Opens the cluster's metadata with this machine's clocks. `create`: make the database when it is missing. */
export async function openCluster(
  url: string,
  options: { readonly create: boolean },
  deps: { readonly log: Log; readonly clock?: Clock },
): Promise<ClusterMetadata> {
  const clock = deps.clock ?? systemClock;
  const service = await openMetadata(url, { clock, log: deps.log, ...metadataSurroundings() }, options);
  return new ClusterMetadata(service, { clock, random: systemRandom, log: deps.log });
}
