// Targets of backups as people name them: a directory, or s3://BUCKET/PREFIX with what the environment says of S3.

import { randomUUID } from "node:crypto";
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import type { BackupTarget } from "#backup";
import { DirectoryTarget, S3Target } from "#backup";
import { systemClock, systemRandom } from "#host/node";
import { TorusError } from "#model";
import type { ProgramIo } from "../shared/program-io.ts";

export interface TargetFlags {
  readonly s3Endpoint?: string;
}

export const targetHelp = `
TARGET is a directory, or s3://BUCKET/PREFIX. For S3 the environment has AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN (of temporary
ones) and AWS_REGION (us-east-1 unless told); --s3-endpoint or AWS_ENDPOINT_URL names a server that is not Amazon's.`;

export function addTargetOptions(command: Command): Command {
  return command.addOption(
    new Option("--s3-endpoint <url>", "the S3 server, such as http://10.0.0.7:9000 (default: Amazon's)"),
  );
}

/** Throws `invalid-argument`. Nothing is asked of the target yet. */
export function openTarget(text: string, { s3Endpoint }: TargetFlags, io: ProgramIo): BackupTarget {
  if (text.startsWith("s3://")) return openS3(text, s3Endpoint ?? null, io);
  if (/^[a-z0-9]+:\/\//.test(text))
    throw new TorusError(
      "invalid-argument",
      `target "${text}" is neither a directory nor s3://BUCKET/PREFIX`,
    );
  if (s3Endpoint !== undefined)
    throw new TorusError(
      "invalid-argument",
      `--s3-endpoint is for s3:// targets, and "${text}" is a directory`,
    );
  return new DirectoryTarget({ path: resolve(text), unique: randomUUID() });
}

const placePattern = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,62})((?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)\/?$/;

function openS3(text: string, flag: string | null, { env }: ProgramIo): BackupTarget {
  const match = placePattern.exec(text);
  if (match === null)
    throw new TorusError(
      "invalid-argument",
      `target "${text}" is not s3://BUCKET/PREFIX: names of A-Z a-z 0-9 . _ - that do not begin with a dot, with / between`,
    );
  const [, bucket, folders] = match;
  const region = env["AWS_REGION"] ?? env["AWS_DEFAULT_REGION"] ?? "us-east-1";
  const endpoint =
    flag ?? env["AWS_ENDPOINT_URL_S3"] ?? env["AWS_ENDPOINT_URL"] ?? `https://s3.${region}.amazonaws.com`;
  const credentials = {
    accessKeyId: required("AWS_ACCESS_KEY_ID", env),
    secretAccessKey: required("AWS_SECRET_ACCESS_KEY", env),
    sessionToken: env["AWS_SESSION_TOKEN"] ?? null,
  };
  const prefix = folders === "" ? "" : `${folders.slice(1)}/`;
  const options = { endpoint: requireUrl(endpoint), region, bucket, prefix, credentials };
  return new S3Target(options, { fetch, clock: systemClock, random: systemRandom });
}

function required(name: string, env: ProgramIo["env"]): string {
  const value = env[name];
  if (value !== undefined && value !== "") return value;
  throw new TorusError("invalid-argument", `${name} is not set in the environment: S3 wants it`);
}

function requireUrl(text: string): string {
  const url = URL.parse(text);
  if (url !== null && /^https?:$/.test(url.protocol) && url.search === "" && url.username === "") return text;
  throw new TorusError("invalid-argument", `S3 endpoint "${text}" is no http:// or https:// address`);
}
