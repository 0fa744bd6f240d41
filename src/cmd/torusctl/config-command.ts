// torusctl config: named profiles, so that the metadata service need not be said each time.

import { type Command, Option } from "commander";
import { TorusError } from "#model";
import { configFile, metadataUrl, metadataVariable } from "../shared/metadata-options.ts";
import { defaultProfile, readProfiles, requireProfileName, writeProfiles } from "../shared/profile-config.ts";
import type { TorusctlContext } from "./context.ts";

const examples = `
What the programs use, first found wins: --metadata, ${metadataVariable} (unless --profile is given), the profile, the profile
"${defaultProfile}", a database in ~/.torus.

Examples:
  torusctl -C sqlite:/var/lib/torus/metadata.db config              save as "${defaultProfile}"
  torusctl -C sqlite:/srv/test.db --profile test config             save as "test"
  torusctl --profile test volume list                               use it
  torusctl config --view`;

export function addConfigCommand(program: Command, context: TorusctlContext): void {
  program
    .command("config")
    .summary("save or show named profiles")
    .description(
      "Saves the metadata service given by --metadata as a named profile (~/.torus/config.json, mode 0600).",
    )
    .addOption(new Option("--view", "show the profiles, and what would be used now"))
    .addHelpText("after", examples)
    .action((flags: { view?: boolean }) => (flags.view ? view(context) : save(context)));
}

function save(context: TorusctlContext): void {
  const { metadata, profile = defaultProfile } = context.flags;
  if (metadata === undefined) {
    throw new TorusError(
      "invalid-argument",
      "say which metadata service to save: torusctl -C URL config; --view shows the profiles",
    );
  }
  const file = configFile(context.flags, context.io);
  const profiles = { ...readProfiles(file), [requireProfileName(profile)]: { metadata } };
  writeProfiles(file, profiles);
  context.output.print({
    json: { file, profile, metadata },
    message: `saved profile ${profile} in ${file}: ${metadata}`,
  });
}

function view(context: TorusctlContext): void {
  const file = configFile(context.flags, context.io);
  const profiles = readProfiles(file);
  const inUse = metadataUrl(context.flags, context.io);
  context.output.print({
    json: { file, profiles, metadata: inUse },
    columns: [{ title: "PROFILE" }, { title: "METADATA" }],
    rows: Object.entries(profiles).map(([name, profile]) => [name, profile.metadata]),
    footer: [`in use now: ${inUse}`],
  });
}
