#!/usr/bin/env node
// torusctl: the cluster from the command line.

import { processIo } from "../shared/program-io.ts";
import { runTorusctl } from "./program.ts";

process.exitCode = await runTorusctl(process.argv.slice(2), processIo());
