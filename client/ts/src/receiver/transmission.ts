/** What PayPal's headers say of one delivery of a webhook, and which deliveries have been seen. */
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
 * Reads the headers of a delivery, which must be one of the last days: only a checksum binds the
 * body to the signature, so an old transmission could be made to carry another body. What PayPal
 * sends again within its three days is young enough.
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
  // A bar could shift the parts of the text that is signed.
  if (sent.id.includes("|")) throw refusal("headers", "the transmission id holds a |");
  const at = parseTime(sent.time)?.time;
  if (at === undefined) throw refusal("headers", "the transmission time cannot be read");
  const age = now.getTime() - at.getTime();
  if (age > maxAgeMs) throw refusal("too_old", `the transmission is older than ${maxAgeMs / 3_600_000} h`);
  if (age < -ahead) throw refusal("too_new", "the transmission time lies ahead; compare the clocks");
  return { ...sent, at };
}

/** How many transmissions are remembered: more than PayPal makes in three days, and some 16 MB. */
const most = 1 << 16;

/**
 * Remembers which body each verified transmission carried. A signature binds a body by its CRC-32
 * alone, which anybody can match: with one genuine delivery in hand, a body of one's own would pass
 * for PayPal's as long as the transmission is young. It is this process's memory: behind several
 * processes, or after a restart, the first body that each sees passes.
 */
export class Transmissions {
  private readonly seen = new Map<string, { readonly body: string; readonly at: number }>(); // the oldest first

  constructor(private readonly maxAgeMs: number) {}

  /** Throws a Refusal for a transmission that carried another body. */
  bind(transmission: Transmission, body: Buffer, now: Date): void {
    const id = digest(transmission.id);
    const known = this.seen.get(id);
    const carried = digest(body);
    if (known !== undefined) {
      if (known.body === carried) return;
      throw refusal("reused", "this transmission id came with another body before; PayPal signs each body anew");
    }
    for (const [oldest, { at }] of this.seen) {
      if (this.seen.size < most && now.getTime() - at <= this.maxAgeMs + ahead) break;
      this.seen.delete(oldest);
    }
    this.seen.set(id, { body: carried, at: now.getTime() });
  }
}

const digest = (bytes: string | Buffer): string => createHash("sha256").update(bytes).digest("base64");

const refusal = (reason: string, text: string): Refusal => new Refusal(400, reason, text);
