// The reasons at the head of the contract, and the class of each in every library.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import * as noted from "../src/index.mjs";
import { NotedError, reasons } from "../src/index.mjs";
import { root } from "./places.mjs";

const read = (path: string): string => readFileSync(join(root, path), "utf8");

test("every reason of the contract has a class, and every class has a reason", () => {
  const [head = ""] = read("api/noted/v1/noted.proto").split("syntax =");
  const [, list = ""] = head.split(/ailures carry a google\.rpc\.ErrorInfo[^]*?\n\/\/\n/);
  // A line is "//   CODE   REASON (remark), REASON", and the next line may go on with
  // further reasons. So the first word is a code where three spaces are before it.
  const documented = list
    .replace(/\([^)]*\)/g, "")
    .split("\n")
    .flatMap((line) => {
      const words = line.match(/[A-Z_]{4,}/g) ?? [];
      return /^\/\/ {3}\S/.test(line) ? words.slice(1) : words;
    });
  assert.ok(documented.length > 20, "noted.proto no longer begins with a list of reasons; change this test with it");
  assert.deepEqual(Object.keys(reasons).sort(), documented.sort());
});

test("a reason's class has the reason's name, is exported and extends NotedError", () => {
  for (const [reason, kind] of Object.entries(reasons)) {
    const name = reason.toLowerCase().replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());
    assert.equal(kind.name, name);
    assert.equal((noted as Record<string, unknown>)[name], kind);
    assert.ok(new kind("noting I-1", "said", { reason }) instanceof NotedError);
  }
});

test("the errors have the same names in Python, PHP and Go", () => {
  for (const [path, entry] of [
    ["client/python/src/noted/errors.py", /^ {4}"([A-Z_]+)": (\w+),$/gm],
    ["client/php/src/Exception/NotedException.php", /^ {8}'([A-Z_]+)' => (\w+)::class,$/gm],
    ["client/errors.go", /^\t"([A-Z_]+)": +Err(\w+),$/gm],
  ] as const) {
    const theirs = [...read(path).matchAll(entry)].map(([, reason, name]) => [reason!, name!.replace("ID", "Id")]);
    const ours = Object.entries(reasons).map(([reason, { name }]) => [reason, name]);
    assert.deepEqual(theirs.sort(), ours.sort(), path);
  }
});

test("an error tells the act, the reason and the server's sentence", () => {
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
