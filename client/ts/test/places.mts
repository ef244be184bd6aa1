// Paths of the repository, for the tests, which run from build/test.
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const project = join(dirname(fileURLToPath(import.meta.url)), "../..");
export const root = join(project, "../..");
