import { useRef, useState } from "preact/hooks";
import { t } from "../i18n";
import { collection } from "../session";
import { filesOf } from "./dropped";

interface DropZoneProps {
  onFiles: (collection: string, files: File[]) => void;
}

/** Takes files and folders by drag and drop, or by the browser's own dialog. */
export function DropZone({ onFiles }: DropZoneProps) {
  const words = t.value.docs;
  const [over, setOver] = useState(false);
  const [name, setName] = useState<string | null>(null);
  const files = useRef<HTMLInputElement>(null);
  const folder = useRef<HTMLInputElement>(null);
  const target = name ?? collection.value;
  const take = (list: File[]) => list.length > 0 && onFiles(target, list);
  const picked = (input: HTMLInputElement) => {
    take([...(input.files ?? [])]);
    input.value = "";
  };
  return (
    <section
      class={over ? "drop over" : "drop"}
      aria-label={words.drop}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        if (event.dataTransfer) void filesOf(event.dataTransfer).then(take);
      }}
    >
      <p>{words.drop}</p>
      <div class="row wrap center">
        <button type="button" class="primary" onClick={() => files.current?.click()}>
          {words.choose}
        </button>
        <button type="button" onClick={() => folder.current?.click()}>
          {words.chooseFolder}
        </button>
      </div>
      <label class="inline">
        {words.into}
        <input
          aria-label={words.newCollection}
          value={target}
          onInput={(event) => setName(event.currentTarget.value)}
        />
      </label>
      <input
        ref={files}
        type="file"
        multiple
        class="hidden"
        tabIndex={-1}
        aria-label={words.choose}
        onChange={(event) => picked(event.currentTarget)}
      />
      <input
        ref={folder}
        type="file"
        multiple
        class="hidden"
        tabIndex={-1}
        aria-label={words.chooseFolder}
        {...{ webkitdirectory: true }}
        onChange={(event) => picked(event.currentTarget)}
      />
    </section>
  );
}
