// Builds dist/ from src/ and from the code that the repository generates of the contract.
// Only for a checkout; the published package contains dist/.
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, cpSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const home = join(dirname(fileURLToPath(import.meta.url)), "..");
const root = join(home, "../..");
for (const folder of ["dist", "src/gen"]) rmSync(join(home, folder), { recursive: true, force: true });
cpSync(join(root, "gen/ts"), join(home, "src/gen"), { recursive: true });
copyFileSync(join(root, "LICENSE"), join(home, "LICENSE"));
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
execFileSync(process.execPath, [tsc, "-p", join(home, "tsconfig.build.json")], { stdio: "inherit" });
chmodSync(join(home, "dist/identify.js"), 0o755);
