/**
 * The receiver in Fastify. It declares the part of Fastify's types that it needs, so that
 * others need not install Fastify.
 */
import type { IncomingHttpHeaders } from "node:http";
import type { Channel } from "./options.js";
import type { Receiver } from "./receiver.js";

interface Request {
  readonly headers: IncomingHttpHeaders;
  readonly body: unknown;
}

interface Reply {
  code(status: number): this;
  headers(headers: Record<string, string>): this;
  send(body: string): this;
}

interface Instance {
  removeAllContentTypeParsers(): void;
  addContentTypeParser(
    type: string,
    options: { parseAs: "buffer" },
    parser: (request: never, body: Buffer, done: (error: Error | null, body?: unknown) => void) => void,
  ): unknown;
  post(
    path: string,
    options: { bodyLimit: number },
    handler: (request: Request, reply: Reply) => Promise<unknown>,
  ): unknown;
}

export type FastifyPlugin = (app: Instance, options: unknown, done: (error?: Error) => void) => void;

/**
 * Fastify parses bodies before a handler sees them. A plugin has parsers of its own:
 * these keep the bytes as they came, and do not affect the rest of the program.
 */
export function plugin(receiver: Receiver, app: Instance, done: (error?: Error) => void): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, parsed) => {
    parsed(null, body);
  });
  const receive = (channel: Channel) => async (request: Request, reply: Reply) => {
    const { status, headers, body } = await receiver.receive(channel, request.headers, request.body as Uint8Array);
    return reply
      .code(status)
      .headers({ ...headers })
      .send(body);
  };
  for (const [path, channel] of receiver.paths) app.post(path, { bodyLimit: receiver.maxBody }, receive(channel));
  done();
}
