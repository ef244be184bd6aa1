/**
 * The headers of one delivery of a webhook, and the deliveries seen before.
 */
import { createHash } from "node:crypto";
import { parseTime } from "../paypal/times.js";
import { Refusal } from "./refusal.js";

/** How far PayPal's clock may be ahead of ours, in milliseconds. */
const ahead = 5 * 60_000;

export interface Transmission {
  readonly id: string;
  /** As it was written: the signature covers the text. */
  readonly time: string;
  readonly at: Date;
  /** In base64. */
  readonly signature: string;
  readonly certUrl: string;
  readonly algorithm: string;
}

/**
 * Reads the headers of a delivery, which must be of the last days: only a checksum binds
 * the body to the signature, so another body could be made for an old transmission.
 * PayPal sends a webhook again for three days, which is recent enough.
 */
export function readTransmission(headers: ReadonlyMap<string, string>, now: Date, maxAgeMs: number): Transmission {
  const read = (name: string): string => {
    const value = (headers.get(`paypal-${name}`) ?? "").trim();
    if (/^[\x20-\x7e]{1,1024}$/.test(value)) return value;
    throw refusal("headers", `the header PAYPAL-${name.toUpperCase()} must be there: this is no webhook of PayPal's`);
  };
  const sent = {
    id: read("transmission-id"),
    time: read("transmission-time"),
    signature: read("transmission-sig"),
    certUrl: read("cert-url"),
    algorithm: read("auth-algo"),
  };
  // A bar could shift the parts of the signed text.
  if (sent.id.includes("|")) throw refusal("headers", "the transmission id holds a |");
  const at = parseTime(sent.time)?.time;
  if (at === undefined) throw refusal("headers", "the transmission time cannot be read");
  const age = now.getTime() - at.getTime();
  if (age > maxAgeMs) throw refusal("too_old", `the transmission is older than ${maxAgeMs / 3_600_000} h`);
  if (age < -ahead) throw refusal("too_new", "the transmission time is in the future; compare the clocks");
  return { ...sent, at };
}

/** How many transmissions are remembered, which takes some 25 MB. */
const most = 100_000;

/**
 * Remembers with which body each verified transmission came. A signature binds a body by
 * its CRC-32 alone: the holder of one delivery can make another body that passes. Only
 * verified transmissions are remembered, so strangers can neither fill the memory nor
 * keep a genuine message out. Each process remembers its own. When the memory is full,
 * the oldest transmission is dropped.
 */
export class Transmissions {
  /** Transmission id → the body's hash, and until when it is taken; the oldest first. */
  private readonly known = new Map<string, { readonly body: string; readonly until: number }>();

  constructor(private readonly maxAgeMs: number) {}

  /** Throws a Refusal if another body came under this transmission's id. */
  admit(transmission: Transmission, body: Buffer, now: Date): void {
    for (const [first, { until }] of this.known) {
      if (until >= now.getTime()) break;
      this.known.delete(first);
    }
    const id = digest(transmission.id);
    const came = { body: digest(body), until: transmission.at.getTime() + this.maxAgeMs };
    const before = this.known.get(id);
    if (before !== undefined && before.body !== came.body) {
      throw refusal(
        "other_body",
        "another body came under this transmission id before, so one of the two is forged; " +
          "compare what was processed with the event in PayPal's dashboard",
      );
    }
    const [first] = this.known.keys();
    if (before === undefined && this.known.size >= most && first !== undefined) this.known.delete(first);
    if (before === undefined || before.until < came.until) this.known.set(id, came); // signed again
  }
}

const digest = (bytes: string | Buffer): string => createHash("sha256").update(bytes).digest("base64");

const refusal = (reason: string, text: string): Refusal => new Refusal(400, reason, text);
