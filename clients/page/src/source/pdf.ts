import {
  GlobalWorkerOptions,
  getDocument,
  type PDFDocumentProxy,
  type PDFPageProxy,
  type RenderTask,
  TextLayer,
} from "pdfjs-dist";
import workerUrl from "pdfjs-dist/build/pdf.worker.min.mjs?url";
import { markQuote, type Passage } from "./spans";

GlobalWorkerOptions.workerSrc = workerUrl;
/** Folders of PDF.js beside the page: its own fonts, and the encodings of East Asian text. */
const BESIDE = new URL("./pdfjs/", document.baseURI).href;

/** The most pixels of a canvas, in all and on a side: browsers draw nothing on larger ones. */
const MOST_PIXELS = 1 << 24;
const MOST_ON_A_SIDE = 1 << 14;

/** A page that is being drawn. */
export interface Drawing {
  /** Resolves to false if a passage was to be marked and is not on the page. */
  done: Promise<boolean>;
  cancel: () => void;
}

export interface PdfFile {
  pages: number;
  /** Draws a page (from 1) into an element, as wide as it is, with a passage marked. */
  draw: (box: HTMLElement, page: number, passage: Passage | null) => Drawing;
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
    draw: (box, page, passage) => draw(pdf, box, page, passage),
    close: () => void task.destroy(),
  };
}

function draw(
  pdf: PDFDocumentProxy,
  box: HTMLElement,
  number: number,
  passage: Passage | null,
): Drawing {
  let cancelled = false;
  let rendering: RenderTask | null = null;
  const run = async () => {
    const page = await pdf.getPage(number);
    if (cancelled) return true;
    const viewport = viewportOf(page, box.clientWidth);
    const ratio = ratioOf(viewport.width, viewport.height);
    const canvas = canvasOf(viewport.width, viewport.height, ratio);
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
    rendering = page.render({ canvas, viewport, transform: [ratio, 0, 0, ratio, 0, 0] });
    const layer = new TextLayer({
      textContentSource: await page.getTextContent(),
      container: text,
      viewport,
    });
    await layer.render();
    await rendering.promise;
    if (cancelled || !passage) return true;
    const marks = markQuote(text, passage);
    marks[0]?.scrollIntoView({ block: "center" });
    return marks.length > 0;
  };
  return {
    done: run().catch((error: unknown) => {
      if (!cancelled) throw error;
      return true;
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

/** Returns the pixels for a CSS pixel: the screen's, or fewer for a page of extreme proportions. */
function ratioOf(width: number, height: number): number {
  const most = Math.min(
    Math.sqrt(MOST_PIXELS / (width * height)),
    MOST_ON_A_SIDE / Math.max(width, height),
  );
  return Math.min(devicePixelRatio || 1, most);
}

function canvasOf(width: number, height: number, ratio: number): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.floor(width * ratio));
  canvas.height = Math.max(1, Math.floor(height * ratio));
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  return canvas;
}
