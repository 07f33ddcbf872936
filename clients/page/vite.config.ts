import { cpSync } from "node:fs";
import { defineConfig } from "vite";

const OUT = "../../rag/web/static";
const PDFJS = "../node_modules/pdfjs-dist";

export default defineConfig({
  base: "./",
  build: {
    outDir: OUT,
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // the page's policy allows no data: scripts, fonts or styles
    modulePreload: { polyfill: false }, // it would be an inline script
  },
  plugins: [
    {
      name: "pdfjs-files",
      closeBundle() {
        for (const folder of ["cmaps", "standard_fonts"]) {
          cpSync(`${PDFJS}/${folder}`, `${OUT}/pdfjs/${folder}`, { recursive: true });
        }
      },
    },
  ],
  server: { proxy: { "/v1": "http://127.0.0.1:8000" } },
});
