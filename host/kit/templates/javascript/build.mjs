// Makes the component: `mantle plugin build` runs this and puts connector.toml into what it writes.

import { readFile, writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const { component } = await componentize(await readFile("app.js", "utf8"), {
  witPath: "wit",
  worldName: "whole",
  // What a connector has no use for: it has `http` of mantle:connector, and a clock and a log of its own.
  disableFeatures: ["http", "fetch-event", "stdio", "clocks", "random"],
});
await writeFile("component.wasm", component);
