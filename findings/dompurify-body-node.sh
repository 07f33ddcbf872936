#!/usr/bin/env bash
# Seen on 2026-11-30 with DOMPurify 3.5.0 and 3.2.6, jsdom 26.1.0, Node.js 20, and in Chromium 153.
#
# One would expect: `sanitize` takes HTML as text or as a node, and what `ALLOWED_TAGS` does not name is taken
# out of either in the same way.
# What happens: since a 3.x release, a `body` element, as DOMParser returns it, is refused with an exception unless
# `ALLOWED_TAGS` names "body". The message speaks of sanitizing in place, which was not asked for. The same HTML as
# text passes, and with the default tags the node passes, too. 3.2.6 takes both.
# Output seen:
#   3.2.6 text: <p>one two</p>, node: <p>one two</p>
#   3.5.0 text: <p>one two</p>, node: a node selected for removal could not be detached from its tree
# Why it matters: a page that parses a document, changes it (images into their words) and then sanitizes the body with
# an allow list of its own shows nothing at all after an update of the sanitizer. Plumbline's page sanitizes the
# body's innerHTML (clients/page/src/source/markdown.ts).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-save --no-audit --no-fund jsdom@26.1.0 old@npm:dompurify@3.2.6 new@npm:dompurify@3.5.0
cat >seen.mjs <<'JAVASCRIPT'
import assert from "node:assert";
import { JSDOM } from "jsdom";
import newer from "new";
import older from "old";

const { window } = new JSDOM("");
const html = "<p>one <b>two</b></p>";
const refusal = "a node selected for removal could not be detached from its tree";

function sanitized(purify, dirty) {
  try {
    return purify.sanitize(dirty, { ALLOWED_TAGS: ["p"] });
  } catch (error) {
    return error.message.slice(0, refusal.length);
  }
}

for (const [make, version, ofNode] of [
  [older, "3.2.6", "<p>one two</p>"],
  [newer, "3.5.0", refusal],
]) {
  const purify = make(window);
  const { body } = new window.DOMParser().parseFromString(html, "text/html");
  const seen = { text: sanitized(purify, html), node: sanitized(purify, body) };
  console.log(`${purify.version} text: ${seen.text}, node: ${seen.node}`);
  assert.equal(purify.version, version);
  assert.deepEqual(seen, { text: "<p>one two</p>", node: ofNode });
}
JAVASCRIPT
node seen.mjs || { echo "It has changed."; exit 1; }
