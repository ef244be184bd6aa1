/** The receiver in node:http, and in frameworks that build on it, such as Express. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { Refusal } from "./refusal.js";
import type { Answer } from "./options.js";
import { parsed, tooLarge, type Receiver } from "./receiver.js";

/** A listener of node:http, which calls the next handler if there is one. */
export type Middleware = (request: IncomingMessage, response: ServerResponse, next?: (error?: unknown) => void) => void;

export function listener(receiver: Receiver, prefix: string): Middleware {
  const below = prefix.replace(/\/+$/, "");
  return (request, response, next) => {
    const [path = ""] = (request.url ?? "").split("?");
    const channel = path.startsWith(below) ? receiver.paths.get(path.slice(below.length)) : undefined;
    if (channel === undefined) {
      if (next !== undefined) {
        next();
        return;
      }
      const known = [...receiver.paths.keys()].map((known) => below + known).join(" and ");
      const refusal = new Refusal(404, "not_found", `there is nothing at this path; PayPal posts to ${known}`);
      send(response, receiver.refuse("a request", refusal));
      return;
    }
    take(request, receiver.maxBody)
      .then((body) => receiver.receive(channel, request.headers, body))
      .catch((error: unknown) => receiver.refuse(channel, error))
      .then((answer) => {
        // Without it, the rest of a body that was not read to its end would be taken for
        // the next request.
        if (!request.complete) response.setHeader("Connection", "close");
        send(response, answer);
      })
      .catch((error: unknown) => {
        receiver.log.error(`${channel}: not answered: ${String(error)}`);
      });
  };
}

function send(response: ServerResponse, { status, headers, body }: Answer): void {
  response.writeHead(status, { ...headers, "Content-Length": Buffer.byteLength(body) }).end(body);
}

/**
 * The body's very bytes: those of a parser of raw bodies, or else the stream's.
 */
async function take(request: IncomingMessage & { body?: unknown }, most: number): Promise<Uint8Array> {
  if (request.method !== "POST") throw new Refusal(405, "method", "only POST is taken here");
  if (request.body instanceof Uint8Array) return request.body;
  if (request.readableDidRead) throw parsed();
  if (Number(request.headers["content-length"] ?? 0) > most) throw tooLarge(most);
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      if ((size += chunk.length) > most) throw tooLarge(most);
      chunks.push(chunk);
    }
  } catch (error) {
    throw error instanceof Refusal ? error : new Refusal(400, "broken", "the message broke off", { cause: error });
  }
  return Buffer.concat(chunks);
}
