import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig, type ResolvedConfig } from "vite";

const MODULES = "../node_modules";
/** The libraries whose code is in the built page. */
const LIBRARIES = [
  "@preact/signals",
  "@preact/signals-core",
  "dompurify",
  "eventsource-parser",
  "idb-keyval",
  "marked",
  "openapi-fetch",
  "pdfjs-dist",
  "preact",
];
let config: ResolvedConfig;

export default defineConfig({
  base: "./",
  build: {
    outDir: "../../rag/web/static",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // the page's policy allows no data: scripts, fonts or styles
    modulePreload: { polyfill: false }, // it would be an inline script
  },
  plugins: [
    {
      name: "licences-and-pdfjs-files",
      configResolved(resolved) {
        config = resolved;
      },
      closeBundle() {
        const out = config.build.outDir;
        for (const folder of ["cmaps", "standard_fonts"]) {
          cpSync(join(MODULES, "pdfjs-dist", folder), join(out, "pdfjs", folder), {
            recursive: true,
          });
        }
        writeFileSync(join(out, "licences.txt"), LIBRARIES.map(licence).join("\n"));
      },
    },
  ],
  server: { proxy: { "/v1": "http://127.0.0.1:8000" } },
});

/** Returns the name, version and licence of a library, in full. */
function licence(name: string): string {
  const folder = join(MODULES, name);
  const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const files = readdirSync(folder).filter((file) => /^licen[cs]e/i.test(file)).sort();
  const texts = files.map((file) => readFileSync(join(folder, file), "utf8").trim());
  if (texts.length === 0) throw new Error(`${name} has no licence file.`);
  return `${name} ${version}\n\n${texts.join("\n\n")}\n`;
}
