// The version the programs tell.

import packageJson from "../../../package.json" with { type: "json" };

export const torusVersion: string = packageJson.version;

export function versionLine(program: string): string {
  return `${program} ${torusVersion} (node ${process.versions.node}, ${process.platform} ${process.arch})`;
}
