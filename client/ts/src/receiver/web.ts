/**
 * The requests of the verifiers: bounded in time and size. They follow no redirect.
 */
import * as http from "node:http";
import * as https from "node:https";
import { isThisMachine } from "../settings.js";

export interface Reply {
  readonly status: number;
  /** Cut at the length that was asked for. */
  readonly body: Buffer;
}

/** There was no reply. It says why, without any part of the message. */
export class Unanswered extends Error {}

/**
 * Whether no one on the way can read or change a request to a URL: https, or this
 * machine.
 */
export function isConfidential(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { protocol, hostname } = new URL(url);
  return protocol === "https:" || (protocol === "http:" && isThisMachine(hostname));
}

/**
 * Asks one peer. Its certificate is known by the given authorities, or else by Node's.
 */
export class Peer {
  private readonly agent: https.Agent;

  constructor(ca?: readonly string[]) {
    this.agent = new https.Agent({
      keepAlive: true,
      minVersion: "TLSv1.2",
      ...(ca === undefined ? {} : { ca: [...ca] }),
    });
  }

  /**
   * The reply to a GET, or to a POST if there is something to post. The timeout covers
   * the whole exchange.
   */
  async fetch(
    url: string,
    timeoutMs: number,
    most: number,
    post?: { readonly body: Buffer; readonly headers: Record<string, string> },
  ): Promise<Reply> {
    if (timeoutMs <= 0) throw new Unanswered("it did not answer in time");
    const { protocol } = new URL(url);
    const options: https.RequestOptions = {
      method: post === undefined ? "GET" : "POST",
      headers: {
        "User-Agent": "noted-receiver",
        ...post?.headers,
        ...(post === undefined ? {} : { "Content-Length": post.body.length }),
      },
      signal: AbortSignal.timeout(Math.ceil(timeoutMs)),
    };
    try {
      return await new Promise<Reply>((resolve, reject) => {
        const answered = (response: http.IncomingMessage): void => {
          read(response, most).then(resolve, reject);
        };
        const request =
          protocol === "https:"
            ? https.request(url, { ...options, agent: this.agent }, answered)
            : http.request(url, options, answered);
        request.on("error", reject);
        request.end(post?.body);
      });
    } catch (error) {
      throw new Unanswered(why(error), { cause: error });
    }
  }
}

async function read(response: http.IncomingMessage, most: number): Promise<Reply> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    if ((size += chunk.length) >= most) break; // which ends the connection
  }
  return { status: response.statusCode ?? 0, body: Buffer.concat(chunks).subarray(0, most) };
}

function why(error: unknown): string {
  if (!(error instanceof Error)) return "no connection";
  if (error.name === "TimeoutError" || error.name === "AbortError") return "it did not answer in time";
  const code = "code" in error && typeof error.code === "string" ? error.code : error.name;
  return /CERT|SIGNATURE|ISSUER/.test(code) ? "its certificate cannot be trusted" : `no connection: ${code}`;
}
