/**
 * Verifies a webhook without asking PayPal: by its signature over id, time, our webhook
 * id and the checksum of the body.
 */
import { verify } from "node:crypto";
import { crc32 } from "./crc.js";
import { untrusted, type Certificates } from "./certificates.js";
import { isStrong } from "./chain.js";
import { noSandbox, Refusal } from "./refusal.js";
import type { Transmission } from "./transmission.js";

/** A webhook's id in PayPal's dashboard, or in the sandbox's. */
export interface WebhookId {
  readonly id: string;
  readonly sandbox: boolean;
}

export class Signature {
  constructor(
    private readonly webhookIds: readonly WebhookId[],
    /** Whether the sandbox's messages are accepted. */
    private readonly sandbox: boolean,
    private readonly certificates: Certificates,
  ) {}

  /**
   * Whether PayPal has sent this as a test; throws a Refusal if PayPal has not sent it.
   */
  async verify(sent: Transmission, body: Buffer): Promise<boolean> {
    if (sent.algorithm.toLowerCase() !== "sha256withrsa") {
      throw new Refusal(400, "headers", "the signature algorithm is not SHA256withRSA");
    }
    if (!/^(?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(sent.signature)) throw notSigned();
    const signature = Buffer.from(sent.signature, "base64");
    // As of the transmission: a certificate may end between a transmission and its
    // redelivery.
    const { certificate, test } = await this.certificates.trusted(sent.certUrl, sent.at);
    if (certificate.publicKey.asymmetricKeyType !== "rsa" || !isStrong(certificate)) throw untrusted();
    for (const { id, sandbox } of this.webhookIds) {
      const signed = Buffer.from(`${sent.id}|${sent.time}|${id}|${crc32(body)}`);
      if (!verify("RSA-SHA256", signed, certificate.publicKey, signature)) continue;
      if ((test || sandbox) && !this.sandbox) throw noSandbox();
      return test || sandbox;
    }
    throw notSigned();
  }
}

/** It does not say which part was wrong: that would help a forger. */
const notSigned = (): Refusal =>
  new Refusal(
    400,
    "invalid",
    "the signature is not PayPal's over this body for this webhook; compare the webhook id with PayPal's dashboard",
  );
