// A server on real sockets that gives the answers a test wants: wrong ones, or ones of a
// later release.
import { createServer, type Http2Server } from "node:http2";
import { after } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { ConnectError, type Code, type ServiceImpl } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { DedupeService, NoteSchema, State, type Note } from "../src/gen/noted/v1/noted_pb.js";
import { listen } from "./noted.mjs";

/** Serves the given calls of the contract, and returns the address. */
export async function serve(calls: Partial<ServiceImpl<typeof DedupeService>>): Promise<string> {
  const server: Http2Server = createServer(
    connectNodeAdapter({ routes: (router) => router.service(DedupeService, calls) }),
  );
  const sessions = new Set<{ destroy(): void }>();
  server.on("session", (session) => {
    sessions.add(session);
  });
  after(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  return `127.0.0.1:${await listen(server)}`;
}

/** A note of the series, as the server sends it. */
export function noteOf(seriesId: string, more: Exclude<MessageInitShape<typeof NoteSchema>, Note> = {}): Note {
  return create(NoteSchema, {
    donationId: "d-1",
    donation: { ledger: "test", seriesId },
    state: State.HELD,
    attempt: 1,
    ...more,
  });
}

/** An error as the server sends it: with a reason, and the wait if one is given. */
export function refuse(code: Code, reason: string, domain = "noted.v1", waitMs?: number): ConnectError {
  const error = new ConnectError(`because of ${reason}`, code);
  const info = new BinaryWriter()
    .tag(1, WireType.LengthDelimited)
    .string(reason)
    .tag(2, WireType.LengthDelimited)
    .string(domain)
    .finish();
  error.details.push({ type: "google.rpc.ErrorInfo", value: info });
  if (waitMs !== undefined) {
    const delay = new BinaryWriter()
      .tag(1, WireType.Varint)
      .int64(Math.floor(waitMs / 1000))
      .tag(2, WireType.Varint)
      .int32((waitMs % 1000) * 1e6)
      .finish();
    error.details.push({
      type: "google.rpc.RetryInfo",
      value: new BinaryWriter().tag(1, WireType.LengthDelimited).bytes(delay).finish(),
    });
  }
  return error;
}
