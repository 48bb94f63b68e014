// Serves the page that CVAT's own source was built to, in front of the emulator of CVAT's server.
//
// The emulator knows what the plugin's work needs; what else the page asks for on its way to a job
// is answered here, as by a server on which nothing of it exists.

import { readFileSync, statSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join } from "node:path";

const NOTHING = { count: 0, next: null, previous: null, results: [] };
const USER = {
  url: "",
  id: 1,
  username: "annotator",
  first_name: "",
  last_name: "",
  email: "",
  groups: ["user"],
  is_staff: false,
  is_superuser: false,
  is_active: true,
  last_login: null,
  date_joined: "2026-01-01T00:00:00Z",
  email_verification_required: false,
  has_analytics_access: false,
};

const ANSWERS: Readonly<Record<string, unknown>> = {
  "/api/schema": { openapi: "3.0.0", info: {}, paths: {}, components: { schemas: {} } },
  "/api/server/health": {},
  "/api/server/plugins": { GIT_INTEGRATION: false, ANALYTICS: false, MODELS: true, PREDICT: false },
  "/api/server/annotation/formats": { importers: [], exporters: [] },
  "/api/users/self": USER,
  "/api/user-agreements": [],
  "/api/lambda/requests": [],
  "/api/events": {},
  "/api/comments": NOTHING,
  "/api/invitations": NOTHING,
  "/api/issues": NOTHING,
  "/api/organizations": NOTHING,
};

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
};

/** Start the server. */
export async function serveRealPage(
  dist: string,
  emulator: string,
): Promise<{ server: Server; url: string }> {
  const server = createServer((request, response) => {
    answer(dist, emulator, request, response).catch((error) => {
      response.writeHead(502);
      response.end(String(error));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { server, url: `http://127.0.0.1:${port}/` };
}

async function answer(
  dist: string,
  emulator: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { pathname, search, searchParams } = new URL(request.url ?? "/", emulator);
  const path = pathname.replace(/(?<=.)\/$/, "");
  const json = (body: unknown) => {
    response.writeHead(200, { "Content-Type": "application/json" });
    response.end(JSON.stringify(body));
  };
  if (!path.startsWith("/api/") && !path.startsWith("/emulator/")) {
    // The page's own addresses are all the one page.
    const file = isFile(join(dist, path)) ? join(dist, path) : join(dist, "index.html");
    response.writeHead(200, { "Content-Type": TYPES[extname(file)] ?? "application/octet-stream" });
    response.end(readFileSync(file));
    return;
  }
  if (path in ANSWERS) return json(ANSWERS[path]);
  if (searchParams.get("type") === "ground_truth") return json(NOTHING);
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part);
  // The page writes the job's state when it saves; the emulator's jobs have one state.
  const reads = request.method === "GET" || /^\/api\/jobs\/\d+$/.test(path);
  const passed = await fetch(emulator + path + search, {
    method: reads ? "GET" : (request.method ?? "GET"),
    headers: { "Content-Type": "application/json" },
    ...(!reads && parts.length > 0 && { body: Buffer.concat(parts) }),
  });
  if (path === "/api/server/about") {
    return json({ ...((await passed.json()) as object), logo_url: "", subtitle: "" });
  }
  response.writeHead(passed.status, { "Content-Type": passed.headers.get("Content-Type") ?? "" });
  response.end(Buffer.from(await passed.arrayBuffer()));
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}
