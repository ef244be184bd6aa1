/**
 * Asks PayPal to verify a webhook. That needs a token, which is kept until shortly before
 * it ends.
 */
import { Document } from "../paypal/document.js";
import { MalformedError } from "../paypal/result.js";
import { again, noSandbox, Refusal } from "./refusal.js";
import type { WebhookId } from "./signature.js";
import type { Transmission } from "./transmission.js";
import { isConfidential, Peer, Unanswered } from "./web.js";

/** The credentials of the REST app that the webhook belongs to. */
export interface WebhookApiOptions {
  readonly clientId: string;
  readonly clientSecret: string;
  /**
   * PayPal's API: https://api-m.paypal.com. A message that a host of the sandbox verifies
   * is a test.
   */
  readonly url?: string;
}

/** PayPal's API gave no usable answer. */
class Trouble extends Error {}

/** PayPal no longer takes the token. */
class TokenRefused extends Trouble {}

export class WebhookApi {
  private readonly peer = new Peer();
  private readonly base: string;
  private readonly test: boolean;
  private token: { readonly text: string; readonly ends: number } | undefined;
  private authorising: Promise<string> | undefined; // one is fetched for all who wait

  constructor(
    private readonly options: WebhookApiOptions,
    private readonly webhookIds: readonly WebhookId[],
    private readonly sandbox: boolean,
    private readonly timeoutMs: number,
  ) {
    const url = options.url ?? "https://api-m.paypal.com";
    if (!isConfidential(url))
      throw new TypeError(`webhookVerify.url is ${url}; it must be an https URL: a secret goes there`);
    this.base = url.replace(/\/+$/, "");
    this.test = new URL(url).hostname.includes("sandbox");
  }

  /**
   * Whether PayPal has sent this as a test; throws a Refusal if PayPal has not sent it.
   * PayPal gets the body as it came: a genuine body that was parsed and written again
   * fails. It is embedded in JSON, so it must be one whole JSON object. Otherwise a body
   * could end early and bring its own webhook_id.
   */
  async verify(sent: Transmission, body: Buffer): Promise<boolean> {
    const object = wholeObject(body);
    const until = performance.now() + this.timeoutMs;
    for (const { id, sandbox } of this.webhookIds) {
      const status = await this.status(sent, id, object, until);
      if (status === "FAILURE") continue;
      if (status !== "SUCCESS") throw again("verifier", "PayPal said neither SUCCESS nor FAILURE of this message");
      if ((this.test || sandbox) && !this.sandbox) throw noSandbox();
      return this.test || sandbox;
    }
    throw new Refusal(400, "invalid", "PayPal says that it did not send this message to this webhook");
  }

  private async status(sent: Transmission, webhookId: string, object: Buffer, until: number): Promise<unknown> {
    try {
      try {
        return await this.ask(sent, webhookId, object, until);
      } catch (error) {
        if (!(error instanceof TokenRefused)) throw error;
        this.token = undefined; // it was withdrawn before its time
        return await this.ask(sent, webhookId, object, until);
      }
    } catch (error) {
      if (!(error instanceof Trouble) && !(error instanceof Unanswered)) throw error;
      const text = `PayPal could not be asked whether it sent this message (${error.message})`;
      throw again("verifier", text, { cause: error });
    }
  }

  private async ask(sent: Transmission, webhookId: string, object: Buffer, until: number): Promise<unknown> {
    const token = await this.authorise(until);
    const question = JSON.stringify({
      transmission_id: sent.id,
      transmission_time: sent.time,
      transmission_sig: sent.signature,
      cert_url: sent.certUrl,
      auth_algo: sent.algorithm,
      webhook_id: webhookId,
    });
    // The checksum is over these very bytes.
    const body = Buffer.concat([Buffer.from(`${question.slice(0, -1)},"webhook_event":`), object, Buffer.from("}")]);
    const headers = { "Content-Type": "application/json", "Authorization": `Bearer ${token}` };
    const answer = await this.post("/v1/notifications/verify-webhook-signature", body, headers, until);
    return answer["verification_status"];
  }

  private async authorise(until: number): Promise<string> {
    if (this.token !== undefined && performance.now() < this.token.ends) return this.token.text;
    this.authorising ??= this.fetchToken(until).finally(() => {
      this.authorising = undefined;
    });
    return this.authorising;
  }

  private async fetchToken(until: number): Promise<string> {
    const { clientId, clientSecret } = this.options;
    const headers = {
      "Content-Type": "application/x-www-form-urlencoded",
      "Authorization": `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString("base64")}`,
    };
    let answer: Record<string, unknown>;
    try {
      answer = await this.post("/v1/oauth2/token", Buffer.from("grant_type=client_credentials"), headers, until);
    } catch (error) {
      throw error instanceof TokenRefused ? new Trouble("it does not know the client id and secret") : error;
    }
    const { access_token: text, expires_in: seconds } = answer;
    if (typeof text !== "string" || text === "") throw new Trouble("it gave no token");
    const lasts = typeof seconds === "number" ? seconds * 1000 - 60_000 : 0;
    this.token = { text, ends: performance.now() + lasts };
    return text;
  }

  private async post(
    path: string,
    body: Buffer,
    headers: Record<string, string>,
    until: number,
  ): Promise<Record<string, unknown>> {
    const asked = { body, headers: { Accept: "application/json", ...headers } };
    const { status, body: said } = await this.peer.fetch(this.base + path, until - performance.now(), 64 << 10, asked);
    if (status === 401) throw new TokenRefused();
    if (status !== 200) throw new Trouble(`it answered ${status}`);
    try {
      const answer: unknown = JSON.parse(said.toString());
      if (typeof answer === "object" && answer !== null) return answer as Record<string, unknown>;
    } catch {
      // as what is no object
    }
    throw new Trouble("its answer cannot be read");
  }
}

/**
 * The body without its byte order mark, by the same reader that will look for donations
 * in it.
 */
function wholeObject(body: Buffer): Buffer {
  try {
    new Document(body);
  } catch (error) {
    throw error instanceof MalformedError ? new Refusal(400, "malformed", error.message, { cause: error }) : error;
  }
  return body.subarray(0, 3).equals(Buffer.from("\ufeff")) ? body.subarray(3) : body;
}
