// Reads a JSON list of {tex, display} and writes, for each, null or what KaTeX says is wrong with it.
import { readFileSync } from "node:fs";
import katex from "katex";

const formulas = JSON.parse(readFileSync(0, "utf8"));
const complaints = formulas.map(({ tex, display }) => {
  try {
    // "ignore": letters like ŷ inside a formula are no mistake, MathJax draws them too.
    katex.renderToString(tex, { displayMode: display, throwOnError: true, strict: "ignore" });
    return null;
  } catch (error) {
    return error.message;
  }
});
process.stdout.write(JSON.stringify(complaints));
