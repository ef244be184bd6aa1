// The real server, which test.sh builds, and a proxy before it that breaks connections.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once as event } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { after } from "node:test";

/** Starts the server for the tests of one file, and returns the addresses of its two doors. */
export async function startNoted(...flags: string[]): Promise<{ grpc: string; http: string }> {
  const program = process.env["NOTED"] ?? assert.fail("NOTED is not the path of a server; run test.sh, which sets it");
  const own = ["-dev", "-listen", "127.0.0.1:0", "-http-listen", "127.0.0.1:0", "-admin-listen", "off", ...flags];
  const server = spawn(program, own, { stdio: ["ignore", "pipe", "ignore"] });
  after(async () => {
    server.kill();
    const [code] = (await event(server, "exit")) as [number];
    assert.equal(code, 0);
  });
  const [banner] = (await event(createInterface(server.stdout), "line")) as [string];
  const [grpc, http] = banner.match(/127\.0\.0\.1:\d+/g) ?? assert.fail(banner);
  return { grpc, http: http! };
}

/** A server of node:net, node:http, node:http2 or node:https. */
interface Listening extends NodeJS.EventEmitter {
  listen(port: number, host: string): unknown;
  address(): AddressInfo | string | null;
}

export async function listen(server: Listening): Promise<number> {
  server.listen(0, "127.0.0.1");
  await event(server, "listening");
  return (server.address() as AddressInfo).port;
}

/** A proxy between client and server that a test can take down. */
export class Proxy {
  address = "";
  /** Drop the server's bytes, and break the connection after this many of them. */
  swallowAfter = Infinity;
  private readonly sockets = new Set<Socket>();
  private isDown = false;
  private readonly server = createServer((near) => {
    if (this.isDown) {
      near.destroy();
      return;
    }
    const [host, port] = this.target.split(":");
    const far = connect(Number(port), host);
    let said = 0;
    far.on("data", (data) => {
      if ((said += data.length) <= this.swallowAfter) near.write(data);
      else near.destroy();
    });
    near.pipe(far);
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => {
        this.sockets.delete(socket);
        other.destroy();
      });
    }
  });

  private constructor(private readonly target: string) {}

  static async to(target: string): Promise<Proxy> {
    const proxy = new Proxy(target);
    proxy.address = `127.0.0.1:${await listen(proxy.server)}`;
    after(() => {
      proxy.down();
      proxy.server.close();
    });
    return proxy;
  }

  down(): void {
    this.isDown = true;
    for (const socket of this.sockets) socket.destroy();
  }

  up(): void {
    this.isDown = false;
  }
}

/** Waits until done returns true. Fails after ten seconds. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 10_000; !(await holds());) {
    assert.ok(performance.now() < end, "still false after ten seconds");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export async function all<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const read: Item[] = [];
  for await (const item of items) read.push(item);
  return read;
}
