// chromium.mjs FOLDER: unpacks the Chromium that the npm package @sparticuz/chromium carries.
// The package writes into the folder of temporary files, which TMPDIR names.
import { createRequire } from "node:module";

const require = createRequire(`${process.argv[2]}/`);
const { default: chromium } = await import(require.resolve("@sparticuz/chromium"));
console.log(await chromium.executablePath());
