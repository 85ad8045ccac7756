// A minimal Probot app, to compare with: checks the signature, parses, acts on one event.
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { Probot, createNodeMiddleware } from "probot";

const { privateKey } = generateKeyPairSync("rsa", {
  modulusLength: 2048,
  privateKeyEncoding: { type: "pkcs1", format: "pem" },
  publicKeyEncoding: { type: "pkcs1", format: "pem" },
});
const probot = new Probot({ appId: 1, privateKey, secret: process.env.WEBHOOK_SECRET, logLevel: "error" });
const app = (robot) => robot.on("deployment_status", () => {});
const middleware = await createNodeMiddleware(app, { probot, webhooksPath: "/webhooks/github" });

createServer((request, response) => {
  if (request.url === "/healthz") return response.end("ok");
  return middleware(request, response, () => {
    response.statusCode = 404;
    response.end();
  });
}).listen(Number(process.env.PORT), "127.0.0.1");
