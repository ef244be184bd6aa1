/**
 * Verifies an IPN: it posts the bytes back, and PayPal says whether it has sent them.
 */
import { Form } from "../paypal/form.js";
import { again, noSandbox, Refusal } from "./refusal.js";
import { isConfidential, Peer, Unanswered, type Reply } from "./web.js";

const live = "https://ipnpb.paypal.com/cgi-bin/webscr";
const sandboxes = "https://ipnpb.sandbox.paypal.com/cgi-bin/webscr";

/**
 * Asks PayPal. Only its two words count, with 200. An error page, a redirect or silence
 * decides nothing, and PayPal comes again.
 */
export class PostBack {
  private readonly peer = new Peer();

  constructor(
    private readonly url: string | undefined,
    private readonly sandbox: boolean,
    private readonly timeoutMs: number,
  ) {
    if (url !== undefined && !isConfidential(url)) {
      throw new TypeError(
        `ipnVerifyUrl is ${url}; it must be an https URL, or one of this machine: ` +
          "anyone on the way could call a forged IPN verified",
      );
    }
  }

  /**
   * Whether PayPal has sent this as a test; throws a Refusal if PayPal has not sent it.
   */
  async verify(body: Buffer): Promise<boolean> {
    const test = isTest(body);
    if (test && !this.sandbox) throw noSandbox();
    const { status, body: said } = await this.ask(body, this.url ?? (test ? sandboxes : live));
    if (status !== 200) throw unsaid(`it answered ${status}`);
    const word = said.toString("latin1").trim();
    if (word === "INVALID") {
      // PayPal is known to answer this to a genuine message now and then: that message
      // comes again too.
      throw new Refusal(400, "invalid", "PayPal says that it did not send this message");
    }
    if (word !== "VERIFIED") throw unsaid("it said neither VERIFIED nor INVALID");
    return test;
  }

  private async ask(body: Buffer, url: string): Promise<Reply> {
    // The order, the percent signs and the charset must be PayPal's own, so the body is
    // never decoded on the way.
    const post = {
      body: Buffer.concat([Buffer.from("cmd=_notify-validate&"), body]),
      headers: { "Content-Type": "application/x-www-form-urlencoded" },
    };
    try {
      return await this.peer.fetch(url, this.timeoutMs, 64, post);
    } catch (error) {
      throw error instanceof Unanswered ? unsaid(error.message, { cause: error }) : error;
    }
  }
}

const unsaid = (why: string, options?: ErrorOptions): Refusal =>
  again("verifier", `PayPal could not be asked whether it sent this message (${why})`, options);

/**
 * Whether an IPN claims to be a test. The claim only chooses who verifies it: the sandbox
 * verifies a test.
 */
export const isTest = (body: Uint8Array): boolean => !["", "0"].includes(new Form(body).field("test_ipn"));

/**
 * Whether an IPN is to one of the accounts; undefined if it names no receiver.
 *
 * PayPal verifies every IPN that it has sent, to any account, so a stranger could post
 * one of his own here. receiver_id and receiver_email are PayPal's words. business may be
 * the sender's, and counts only if both are missing.
 */
export function receiverIs(body: Uint8Array, accounts: ReadonlySet<string>): boolean | undefined {
  const form = new Form(body);
  const values = (...names: string[]): string[] =>
    names.map((name) => form.field(name).toLowerCase()).filter((value) => value !== "");
  const said = values("receiver_id", "receiver_email");
  const named = said.length > 0 ? said : values("business");
  return named.length > 0 ? named.some((value) => accounts.has(value)) : undefined;
}
