/** The JSON object of a webhook, in which numbers keep their spelling. */
import { latin1 } from "./form.js";
import { JsonNumber, parseJson, type Json } from "./json.js";
import type { Lookup } from "./fields.js";
import { MalformedError } from "./result.js";

/**
 * How deep arrays and objects may nest. PayPal stays below ten; without a bound a few
 * megabytes of [ exhaust the stack of a parser that recurses.
 */
const maxDepth = 64;

/** A body that was read. The names of fields are paths such as resource.links.0.href. */
export class Document {
  private readonly root: ReadonlyMap<string, Json>;

  /**
   * Bytes above ASCII become 0x7f first: languages disagree about bad UTF-8, some refuse
   * the whole body, and no field that is read needs it. 0x7f is legal in a JSON string
   * and illegal in an id.
   */
  constructor(body: Uint8Array) {
    const text = latin1(body)
      .replace(/^\xef\xbb\xbf/, "")
      .replace(/[\x80-\xff]/g, "\x7f");
    if (depth(text) > maxDepth)
      throw new MalformedError("body", "nests deeper than 64 levels; this is no event of PayPal's");
    const root = parseJson(text);
    if (!(root instanceof Map)) {
      throw new MalformedError("body", "is no JSON object; pass the body of PayPal's POST unchanged");
    }
    this.root = root;
  }

  /**
   * The text at a path, one character a byte of its UTF-8; a number is the text it is
   * written with.
   */
  readonly lookup: Lookup = (path) => {
    const { value, problem } = this.find(path);
    if (value === null) return { text: "", problem };
    if (value instanceof JsonNumber) return { text: value.text };
    if (typeof value === "string") return { text: Buffer.from(value, "utf8").toString("latin1") };
    return { text: "", problem: "is neither a string nor a number" };
  };

  /**
   * How many elements the array at a path has: 0 if it is absent, and a problem if the
   * value is not an array.
   */
  length(path: string): { readonly count: number; readonly problem?: string | undefined } {
    const { value, problem } = this.find(path);
    if (value === null) return { count: 0, problem };
    return Array.isArray(value) ? { count: value.length } : { count: 0, problem: "is no array" };
  }

  /**
   * The value at a path: null if it is absent, and a problem if the path leads through a
   * value without such parts.
   */
  private find(path: string): { readonly value: Json; readonly problem?: string } {
    let value: Json = this.root;
    for (const part of path.split(".")) {
      if (value === null) return { value: null };
      if (value instanceof Map) {
        value = (value as ReadonlyMap<string, Json>).get(part) ?? null;
      } else if (Array.isArray(value)) {
        const element: Json | undefined = /^\d+$/.test(part) ? (value as readonly Json[])[Number(part)] : undefined;
        if (element === undefined) return { value: null, problem: "is in an array where an object belongs" };
        value = element;
      } else {
        return { value: null, problem: "is in a value that is not an object" };
      }
    }
    return { value };
  }
}

/**
 * How deep brackets outside strings nest. It need not be right about text that is not
 * JSON.
 */
function depth(text: string): number {
  let [depth, deepest] = [0, 0];
  for (const [bracket] of text.replace(/"[^"\\]*(?:\\[^][^"\\]*)*"?/g, "").matchAll(/[[\]{}]/g)) {
    depth += bracket === "[" || bracket === "{" ? 1 : -1;
    deepest = Math.max(deepest, depth);
  }
  return deepest;
}
