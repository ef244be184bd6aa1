// A stand-in of PayPal's own hosts: IPN post-back, certificates and API. Each is a real
// server, and the test chooses its answers.
import { createSign, randomUUID } from "node:crypto";
import { createServer as createHttp, type IncomingMessage, type RequestListener } from "node:http";
import { createServer as createHttps } from "node:https";
import { after } from "node:test";
import { crc32 } from "../src/receiver/crc.js";
import { Authority, type Leaf, type LeafOptions } from "./authority.mjs";
import { listen } from "./noted.mjs";

export const liveName = "messageverificationcerts.paypal.com";
export const webhookId = "8PT597110X687430LKGECATA";

type Reply = [status: number, body: string | Buffer];

/** A web server with an answer for each path. It keeps the requests. */
class Web {
  readonly replies = new Map<string, Reply | ((body: Buffer, request: IncomingMessage) => Reply)>();
  readonly posted: Buffer[] = [];
  readonly asked: string[] = [];
  pauseMs = 0;

  readonly answer: RequestListener = (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks);
      this.asked.push(request.url ?? "");
      if (request.method === "POST") this.posted.push(body);
      const found = this.replies.get(request.url ?? "") ?? [404, ""];
      const [status, said] = typeof found === "function" ? found(body, request) : found;
      setTimeout(() => {
        response.writeHead(status, status === 302 ? { location: String(said) } : {}).end(said);
      }, this.pauseMs);
    });
  };
}

export class PayPal {
  readonly certificates = new Web();
  readonly plain = new Web();
  readonly ipn = new Web();
  readonly api = new Web();
  certHost = "";
  ipnUrl = "";
  apiUrl = "";
  issuerAt = "";

  private constructor(
    readonly root: Authority,
    readonly between: Authority,
  ) {}

  static async start(): Promise<PayPal> {
    const root = await Authority.make("Root");
    const paypal = new PayPal(root, await Authority.make("Between", root));
    const { pem: cert, keyPem: key } = await root.leaf("localhost");
    const servers = [
      createHttps({ cert, key }, paypal.certificates.answer),
      ...[paypal.plain, paypal.ipn, paypal.api].map((web) => createHttp(web.answer)),
    ];
    const [certificates, plain, ipn, api] = await Promise.all(servers.map(listen));
    after(() => {
      for (const server of servers) {
        server.close();
        server.closeAllConnections();
      }
    });
    paypal.certHost = `localhost:${certificates}`;
    paypal.issuerAt = `http://127.0.0.1:${plain}/between`;
    paypal.ipnUrl = `http://127.0.0.1:${ipn}/ipn`;
    paypal.apiUrl = `http://127.0.0.1:${api}`;
    paypal.ipn.replies.set("/ipn", [200, "VERIFIED"]);
    return paypal;
  }

  /** Serves a certificate for signing, and returns its URL and its key. */
  async certificate(name = liveName, options: LeafOptions & { chain?: boolean } = {}): Promise<Signer> {
    const leaf = await this.between.leaf(name, options);
    const path = `/v1/notifications/certs/CERT-${randomUUID()}`;
    this.certificates.replies.set(path, [200, options.chain === false ? leaf.pem : leaf.pem + this.between.pem]);
    return { ...leaf, url: `https://${this.certHost}${path}`, path };
  }
}

export type Signer = Leaf & { readonly url: string; readonly path: string };

/** The headers of a webhook. */
export function signed(
  { url, keyPem }: { url: string; keyPem: string },
  body: Buffer,
  { at = new Date(), id = randomUUID(), webhook = webhookId } = {},
): Record<string, string> {
  const time = at.toISOString();
  const signature = createSign("RSA-SHA256")
    .update(`${id}|${time}|${webhook}|${crc32(body)}`)
    .sign(keyPem, "base64");
  return {
    "content-type": "application/json",
    "paypal-transmission-id": id,
    "paypal-transmission-time": time,
    "paypal-transmission-sig": signature,
    "paypal-cert-url": url,
    "paypal-auth-algo": "SHA256withRSA",
  };
}

export const account = "donations@example.org";

/** An IPN about a payment of a series. Values must be escaped as PayPal escapes them. */
export function ipn(series: string, fields: Record<string, string> = {}): Buffer {
  const told: Record<string, string> = {
    txn_type: "recurring_payment",
    payment_status: "Completed",
    recurring_payment_id: series,
    txn_id: `T${series.slice(2, 18)}`,
    payment_date: pacific(new Date()),
    mc_gross: "25.00",
    mc_currency: "EUR",
    receiver_email: account,
    first_name: "Jos%E9",
    charset: "windows-1252",
    ...fields,
  };
  return Buffer.from(
    Object.entries(told)
      .map(([name, value]) => `${name}=${value}`)
      .join("&"),
  );
}

/** A time in the format of an IPN's dates. */
export function pacific(at: Date): string {
  const [, day, month, year, clock] = /^\w+, (\d+) (\w+) (\d+) ([\d:]+)/
    .exec(new Date(at.getTime() - 8 * 3_600_000).toUTCString())!
    .map(String);
  return `${clock}+${month}+${day}%2C+${year}+PST`;
}

/** The webhook about the same payment. */
export function webhook(series: string, more: object = {}): Buffer {
  return Buffer.from(
    JSON.stringify({
      id: `WH-${series}`,
      event_type: "PAYMENT.SALE.COMPLETED",
      resource: {
        id: `T${series.slice(2, 18)}`,
        state: "completed",
        billing_agreement_id: series,
        amount: { total: "25.00", currency: "EUR" },
        create_time: new Date().toISOString(),
      },
      ...more,
    }),
  );
}
