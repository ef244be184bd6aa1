import type { RequestListener } from "node:http";
import { positive } from "../settings.js";
import { identifyIpn, identifyWebhook, MalformedError, type Identified } from "../paypal/index.js";
import { WebhookApi } from "./api.js";
import { Certificates } from "./certificates.js";
import { plugin, type FastifyPlugin } from "./fastify.js";
import { PostBack, receiverIs } from "./ipn.js";
import { listener, type Middleware } from "./node.js";
import type { Answer, Channel, Headers, ReceiverOptions } from "./options.js";
import { again, Refusal } from "./refusal.js";
import { Signature, type WebhookId } from "./signature.js";
import { readTransmission, Transmissions } from "./transmission.js";
import { Work, type Log } from "./work.js";

/**
 * The Retry-After of a 503, in seconds. PayPal has its own schedule; other clients may
 * obey it.
 */
const retryAfter = "30";

/**
 * How many messages are worked on at a time. It bounds the cost of forged messages, each
 * of which is a question to PayPal.
 */
const mostAtOnce = 256;

const contentTypes = { ipn: "application/x-www-form-urlencoded", webhook: "application/json" };
const identifiers = { ipn: identifyIpn, webhook: identifyWebhook };

/**
 * Says whether PayPal has sent this body as a test; throws a Refusal if PayPal has not
 * sent it.
 */
type Verify = (headers: ReadonlyMap<string, string>, body: Buffer) => Promise<boolean>;

/**
 * Takes PayPal's messages. Any number of processes may run one: they act as one, because
 * Noted decides.
 */
export class Receiver {
  readonly maxBody: number;
  readonly log: Log;
  /** The paths that PayPal posts to, each with its channel. */
  readonly paths = new Map<string, Channel>();
  private readonly verify = new Map<Channel, Verify>();
  private readonly accounts: ReadonlySet<string>;
  private readonly work: Work;
  private atOnce = 0;

  constructor(private readonly options: ReceiverOptions) {
    const { accounts = [], webhookId = "", sandboxWebhookId = "", sandboxLedger } = options;
    if (typeof accounts === "string") throw new TypeError("accounts is one string; give a list of them");
    if (sandboxWebhookId !== "" && sandboxLedger === undefined) {
      throw new TypeError("sandboxWebhookId is given and sandboxLedger is not: tests would have no ledger");
    }
    if (sandboxLedger !== undefined && sandboxLedger === (options.ledger ?? "")) {
      throw new TypeError("ledger and sandboxLedger are one: tests would count as donations");
    }
    this.accounts = new Set(
      accounts.map((account) => account.trim().toLowerCase()).filter((account) => account !== ""),
    );
    if (this.accounts.size === 0 && webhookId === "" && sandboxWebhookId === "") {
      throw new TypeError("neither accounts nor webhookId is given: there would be nothing to receive");
    }
    this.maxBody = options.maxBody ?? 256 << 10;
    this.log = options.log ?? console;
    this.work = new Work(options.client, options.process, options.undecided, this.log);
    if (this.accounts.size > 0) this.take("ipn", options.ipnPath ?? "/ipn", verifyIpn(options));
    if (webhookId !== "" || sandboxWebhookId !== "")
      this.take("webhook", options.webhookPath ?? "/webhook", verifyWebhook(options));
  }

  private take(channel: Channel, path: string, verify: Verify): void {
    this.paths.set(path, channel);
    this.verify.set(channel, verify);
  }

  /**
   * A listener for node:http, or a middleware for Express, below a prefix such as
   * "/paypal". In Express mount it before express.json() and its like:
   * `app.use("/paypal", receiver.listener())`. For any other path it calls the next
   * handler, or answers 404.
   */
  listener(prefix = ""): Middleware & RequestListener {
    return listener(this, prefix);
  }

  /** A plugin for Fastify: `app.register(receiver.fastify, { prefix: "/paypal" })`. */
  readonly fastify: FastifyPlugin = (app, _options, done) => {
    plugin(this, app, done);
  };

  /**
   * Takes one message: the headers as they came, and the body's very bytes. It is for
   * other frameworks, which should bound the bodies that they read.
   */
  async receive(channel: Channel, headers: Headers, body: Uint8Array): Promise<Answer> {
    try {
      if (this.atOnce >= mostAtOnce) throw again("busy", "too many messages at once");
      this.atOnce++;
      try {
        await this.received(channel, byName(headers), body);
      } finally {
        this.atOnce--;
      }
    } catch (error) {
      return this.refuse(channel, error);
    }
    return { status: 200, headers: { "Content-Type": "text/plain" }, body: "" };
  }

  /** The answer instead of 200. It also writes a line to the log. */
  refuse(channel: string, error: unknown): Answer {
    let refusal: Refusal;
    if (error instanceof Refusal) {
      refusal = error;
      this.log.warn(`${channel} refused with ${refusal.status}, ${refusal.reason}: ${refusal.text}`);
    } else {
      refusal = again("internal", "something went wrong here");
      const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.log.error(`${channel}: a fault of the receiver's own: ${what}`);
    }
    const { status, reason, text } = refusal;
    return {
      status,
      headers: {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        ...(status === 503 ? { "Retry-After": retryAfter } : {}),
        ...(status === 405 ? { Allow: "POST" } : {}),
      },
      body: `${JSON.stringify({ error: text, reason })}\n`,
    };
  }

  private async received(channel: Channel, headers: ReadonlyMap<string, string>, bytes: unknown): Promise<void> {
    const verify = this.verify.get(channel);
    if (verify === undefined) throw new Refusal(404, "not_found", `${channel} is not received here`);
    checkKind(channel, headers);
    if (!(bytes instanceof Uint8Array)) throw parsed();
    const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (body.length > this.maxBody) throw tooLarge(this.maxBody);
    if (body.length === 0) throw new Refusal(400, "malformed", "the body is empty");
    const test = await verify(headers, body);
    const identified = identify(channel, body);
    for (const warning of identified.warnings) this.log.warn(`${channel} ${identified.type}: ${warning}`);
    // Whatever its account: PayPal also tells of payments that we make, which are
    // skipped.
    if (identified.skipped !== "" && !identified.unknown) return;
    // A webhook's signature covers our webhook's id, to which PayPal sends no message of
    // another account.
    const ours = channel === "ipn" ? receiverIs(body, this.accounts) : true;
    if (ours === false) throw new Refusal(403, "foreign", "the message is about an account that is not ours");
    const ledger = (test ? this.options.sandboxLedger : this.options.ledger) ?? "";
    await this.work.do(identified.inLedger(ledger), body, test, ours);
  }
}

/**
 * The body is not the bytes as they came. PayPal comes again, so no message is lost until
 * the setup is mended.
 */
export function parsed(): Refusal {
  return again(
    "parsed",
    "the body was read before it came to the receiver, which verifies PayPal's very bytes: mount the receiver before " +
      "express.json() and express.urlencoded(), or let express.raw({ type: () => true }) read these paths",
  );
}

export const tooLarge = (most: number): Refusal =>
  new Refusal(413, "too_large", `the message has more than ${most} bytes`);

function identify(channel: Channel, body: Buffer): Identified {
  try {
    return identifiers[channel](body);
  } catch (error) {
    throw error instanceof MalformedError ? new Refusal(400, "malformed", error.message, { cause: error }) : error;
  }
}

function checkKind(channel: Channel, headers: ReadonlyMap<string, string>): void {
  const [kind = ""] = (headers.get("content-type") ?? contentTypes[channel]).split(";");
  if (kind.trim().toLowerCase() !== contentTypes[channel]) {
    throw new Refusal(415, "content_type", `the Content-Type must be ${contentTypes[channel]}`);
  }
  if ((headers.get("content-encoding") ?? "") !== "") {
    throw new Refusal(415, "content_type", "a Content-Encoding is not taken: the bytes are verified as they come");
  }
}

/** Headers by their names in lower case. A header that came twice is not PayPal's. */
function byName(headers: Headers): ReadonlyMap<string, string> {
  const entries = Symbol.iterator in headers ? [...headers] : Object.entries(headers);
  return new Map(
    entries.flatMap(([name, value]) =>
      value === undefined ? [] : [[name.toLowerCase(), typeof value === "string" ? value : value.join(", ")]],
    ),
  );
}

function verifyIpn({ ipnVerifyUrl, sandboxLedger, verifyTimeoutMs = 10_000 }: ReceiverOptions): Verify {
  const postBack = new PostBack(
    ipnVerifyUrl,
    sandboxLedger !== undefined,
    positive("verifyTimeoutMs", verifyTimeoutMs),
  );
  return (_, body) => postBack.verify(body);
}

function verifyWebhook(options: ReceiverOptions): Verify {
  const {
    webhookVerify = "signature",
    verifyTimeoutMs = 10_000,
    webhookMaxAgeMs = 73 * 3_600_000,
    now = () => new Date(),
  } = options;
  const timeoutMs = positive("verifyTimeoutMs", verifyTimeoutMs);
  const ids: WebhookId[] = [
    { id: options.webhookId ?? "", sandbox: false },
    { id: options.sandboxWebhookId ?? "", sandbox: true },
  ].filter(({ id }) => id !== "");
  const sandbox = options.sandboxLedger !== undefined;
  const verifier =
    webhookVerify === "signature"
      ? new Signature(ids, sandbox, new Certificates(options.certHosts, options.certRoots, timeoutMs))
      : new WebhookApi(webhookVerify, ids, sandbox, timeoutMs);
  const seen = new Transmissions(webhookMaxAgeMs);
  return async (headers, body) => {
    const sent = readTransmission(headers, now(), webhookMaxAgeMs);
    const test = await verifier.verify(sent, body);
    seen.admit(sent, body, now());
    return test;
  };
}
