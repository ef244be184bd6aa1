// One fact, four places: the reasons in the head of the contract, and a class of each in every library.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import * as noted from "../src/index.mjs";
import { NotedError, reasons } from "../src/index.mjs";
import { root } from "./places.mjs";

const read = (path: string): string => readFileSync(join(root, path), "utf8");

test("every reason in the head of the contract has a class, and no other has", () => {
  const [head = ""] = read("api/noted/v1/noted.proto").split("syntax =");
  const [, list = ""] = head.split(/ailures carry a google\.rpc\.ErrorInfo[^]*?\n\/\/\n/);
  // A line is "//   CODE   REASON (remark), REASON": the first word of a line that begins one is the code.
  const documented = list
    .replace(/\([^)]*\)/g, "")
    .split("\n")
    .flatMap((line) => {
      const words = line.match(/[A-Z_]{4,}/g) ?? [];
      return /^\/\/ {3}\S/.test(line) ? words.slice(1) : words;
    });
  assert.ok(documented.length > 20, "the head of noted.proto has no list of reasons any more");
  assert.deepEqual(Object.keys(reasons).sort(), documented.sort());
});

test("a reason's class has its name, is exported, and is one of NotedError", () => {
  for (const [reason, kind] of Object.entries(reasons)) {
    const name = reason.toLowerCase().replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());
    assert.equal(kind.name, name);
    assert.equal((noted as Record<string, unknown>)[name], kind);
    assert.ok(new kind("noting I-1", "said", { reason }) instanceof NotedError);
  }
});

// The other libraries may lack a reason that is new in the contract; their own tests say so then.
test("Python and Go have the same words", () => {
  for (const [path, entry] of [
    ["client/python/src/noted/errors.py", /^ {4}"([A-Z_]+)": (\w+),$/gm],
    ["client/errors.go", /^\t"([A-Z_]+)": +Err(\w+),$/gm],
  ] as const) {
    const theirs = [...read(path).matchAll(entry)];
    assert.ok(theirs.length > 20, path);
    for (const [, reason, name] of theirs) assert.equal(reasons[reason!]?.name, name, path);
  }
});

test("an error says what was being done, why, and what the server said", () => {
  const cause = new Error("broken");
  const error = new noted.RateLimited("noting I-1", "too many", {
    reason: "RATE_LIMITED",
    code: "RESOURCE_EXHAUSTED",
    cause,
  });
  assert.equal(String(error), "RateLimited: noting I-1: RATE_LIMITED: too many");
  assert.deepEqual(
    [error.act, error.said, error.code, error.cause, error.violations],
    ["noting I-1", "too many", "RESOURCE_EXHAUSTED", cause, []],
  );
  assert.equal(new NotedError("settling", "gone", { code: "UNAVAILABLE" }).message, "settling: UNAVAILABLE: gone");
});
