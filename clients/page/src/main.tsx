import { render } from "preact";
import { App } from "./app";
import { applyTheme } from "./theme";
import "./styles/page.css";

applyTheme();
const root = document.getElementById("page");
if (root) render(<App />, root);
