/** The body of an IPN: one urlencoded form. */
import { createHash } from "node:crypto";

/**
 * The fields of an IPN in the order of its body, as bytes. PayPal's charset field has no
 * effect: all fields that are read are ASCII.
 */
export class Form {
  readonly fields: readonly (readonly [name: string, value: string])[];

  constructor(body: Uint8Array) {
    // Not URLSearchParams, which reads bytes as UTF-8 and replaces bytes that it cannot
    // read.
    this.fields = latin1(withoutLineEnd(body))
      .split("&")
      .filter((piece) => piece !== "")
      .map((piece) => {
        const at = piece.indexOf("=");
        return at < 0
          ? ([unescape(piece), ""] as const)
          : ([unescape(piece.slice(0, at)), unescape(piece.slice(at + 1))] as const);
      })
      // PayPal adds resend=true when it sends a message again. The field is dropped here,
      // so that no rule and no id depends on it.
      .filter(([name]) => name !== "resend");
  }

  /** The first field of that name, or "". */
  readonly lookup = (name: string): { text: string } => ({
    text: this.fields.find(([field]) => field === name)?.[1] ?? "",
  });

  /** The first field of that name, without the spaces around it. */
  field(name: string): string {
    return trimmed(this.lookup(name).text);
  }

  /**
   * The id that stands for the whole message, because an IPN has no id (different
   * payments share an ipn_track_id). It is over sorted, decoded fields, so a body that
   * was parsed and written again has the same id.
   */
  digest(): string {
    const sorted = this.fields.toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    const lines = sorted.map(([name, value]) => `${name}=${value}\n`).join("");
    return createHash("sha256").update(lines, "latin1").digest("hex").slice(0, 32);
  }
}

/** Turns + into a space and %XX into a byte, and leaves any other percent sign alone. */
const unescape = (text: string): string =>
  text.replace(/\+|%([0-9A-Fa-f]{2})/g, (_, digits?: string) =>
    digits === undefined ? " " : String.fromCharCode(parseInt(digits, 16)),
  );

function withoutLineEnd(body: Uint8Array): Uint8Array {
  let end = body.length;
  while (end > 0 && (body[end - 1] === 13 || body[end - 1] === 10)) end--;
  return body.subarray(0, end);
}

/**
 * Without the spaces around it. A pattern for the end would try each run of spaces from
 * each of its places.
 */
export function trimmed(text: string): string {
  let [start, end] = [0, text.length];
  while (text[start] === " ") start++;
  while (end > start && text[end - 1] === " ") end--;
  return text.slice(start, end);
}

/** One character a byte. */
export const latin1 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
