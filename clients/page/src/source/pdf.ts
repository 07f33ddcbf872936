import {
  GlobalWorkerOptions,
  getDocument,
  type PDFDocumentProxy,
  type PDFPageProxy,
  type RenderTask,
  TextLayer,
} from "pdfjs-dist";
import workerUrl from "pdfjs-dist/build/pdf.worker.min.mjs?url";
import { markQuote } from "./spans";

GlobalWorkerOptions.workerSrc = workerUrl;
/** Folders of PDF.js beside the page: its own fonts, and the encodings of East Asian text. */
const BESIDE = new URL("./pdfjs/", document.baseURI).href;

/** A page that is being drawn. */
export interface Drawing {
  done: Promise<void>;
  cancel: () => void;
}

export interface PdfFile {
  pages: number;
  /** Draws a page (from 1) into an element, as wide as it is, with the quote marked. */
  draw: (box: HTMLElement, page: number, quote: string) => Drawing;
  close: () => void;
}

/** Opens a PDF. Rejects if PDF.js cannot read it. */
export async function openPdf(bytes: ArrayBuffer): Promise<PdfFile> {
  const task = getDocument({
    data: bytes,
    cMapUrl: `${BESIDE}cmaps/`,
    standardFontDataUrl: `${BESIDE}standard_fonts/`,
    useWasm: false, // the page's policy allows no WebAssembly
    enableXfa: false,
  });
  const pdf = await task.promise;
  return {
    pages: pdf.numPages,
    draw: (box, page, quote) => draw(pdf, box, page, quote),
    close: () => void task.destroy(),
  };
}

function draw(pdf: PDFDocumentProxy, box: HTMLElement, number: number, quote: string): Drawing {
  let cancelled = false;
  let rendering: RenderTask | null = null;
  const run = async () => {
    const page = await pdf.getPage(number);
    if (cancelled) return;
    const viewport = viewportOf(page, box.clientWidth);
    const canvas = canvasOf(viewport.width, viewport.height);
    const text = document.createElement("div");
    text.className = "textLayer";
    text.style.setProperty("--total-scale-factor", String(viewport.scale));
    text.style.setProperty("--scale-factor", String(viewport.scale));
    const sheet = document.createElement("div");
    sheet.className = "sheet";
    sheet.style.width = `${viewport.width}px`;
    sheet.style.height = `${viewport.height}px`;
    sheet.append(canvas, text);
    box.replaceChildren(sheet);
    const ratio = devicePixelRatio || 1;
    rendering = page.render({ canvas, viewport, transform: [ratio, 0, 0, ratio, 0, 0] });
    const layer = new TextLayer({
      textContentSource: await page.getTextContent(),
      container: text,
      viewport,
    });
    await layer.render();
    await rendering.promise;
    if (cancelled) return;
    const marks = quote ? markQuote(text, quote) : [];
    marks[0]?.scrollIntoView({ block: "center" });
  };
  return {
    done: run().catch((error: unknown) => {
      if (!cancelled) throw error;
    }),
    cancel: () => {
      cancelled = true;
      rendering?.cancel();
    },
  };
}

function viewportOf(page: PDFPageProxy, width: number) {
  const natural = page.getViewport({ scale: 1 });
  return page.getViewport({ scale: Math.max(0.5, width / natural.width) });
}

function canvasOf(width: number, height: number): HTMLCanvasElement {
  const ratio = devicePixelRatio || 1;
  const canvas = document.createElement("canvas");
  canvas.width = Math.floor(width * ratio);
  canvas.height = Math.floor(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  return canvas;
}
