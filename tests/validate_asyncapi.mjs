// What the parser finds wrong with each of the AsyncAPI documents on stdin (a JSON list), as a JSON list of
// {parsed, channels, found: [{code, severity, path, message}]}. Severity 0 is an error, 1 a warning, 2 a remark.
// The argument is the folder that holds node_modules.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { Parser } = createRequire(join(process.argv[2], "package.json"))("@asyncapi/parser");

async function parsed(text) {
  const { document, diagnostics } = await new Parser().parse(text);
  const found = diagnostics.map(({ code, severity, path, message }) => ({ code, severity, path: path.join("/"), message }));
  const channels = document ? document.channels().all().map((channel) => channel.address()) : [];
  return { parsed: Boolean(document), channels, found };
}

const results = [];
for (const one of JSON.parse(readFileSync(0, "utf8"))) results.push(await parsed(JSON.stringify(one)));
console.log(JSON.stringify(results));
