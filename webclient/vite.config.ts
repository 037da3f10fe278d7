import { fileURLToPath } from "node:url";
import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

const server = process.env.POLYMODAL_URL ?? "http://127.0.0.1:8000";
const proxied = Object.fromEntries(
  ["/api", "/v1", "/healthz", "/readyz"].map((path) => [
    path,
    { target: server, changeOrigin: true, ws: path === "/api", rewriteWsOrigin: true },
  ]),
);

/** The policy the server sends, so that `vite preview` refuses what production refuses. */
const POLICY = [
  "default-src 'self'",
  "img-src 'self' blob: data:",
  "media-src 'self' blob:",
  "connect-src 'self'",
  "style-src 'self' 'unsafe-inline'",
].join("; ");

export default defineConfig({
  plugins: [react(), tailwindcss()],
  resolve: { alias: { "@": fileURLToPath(new URL("./src", import.meta.url)) } },
  // Inlined assets would become data: addresses, which the content security policy refuses.
  build: {
    assetsInlineLimit: 0,
    target: "es2022",
    rolldownOptions: {
      output: {
        // Libraries change more seldom than we do: a browser keeps them over our releases.
        codeSplitting: {
          groups: [
            { name: "markdown", test: /node_modules\/(react-markdown|remark|micromark|mdast|hast|unified|unist|vfile)/ },
            { name: "libraries", test: /node_modules\/(?!highlight\.js|lowlight)/ },
          ],
        },
      },
    },
  },
  server: { proxy: proxied },
  preview: { proxy: proxied, headers: { "content-security-policy": POLICY } },
  test: { environment: "jsdom", include: ["src/**/*.test.{ts,tsx}"], restoreMocks: true },
});
