"use strict";
const element = (id) => document.getElementById(id);

function make(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const row = (term, text) => make("div", {}, make("dt", {}, term), make("dd", {}, text));

function kind(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(kind).join(" or ");
  if (schema.type === "array") return `list of ${kind(schema.items)}`;
  if (schema.type === "object" && schema.additionalProperties) return `object of ${kind(schema.additionalProperties)}`;
  return schema.type || "any";
}

function describe(path, method, found, schemas) {
  const parts = [make("h2", { class: "path" }, `${method.toUpperCase()} ${path}`), make("p", {}, found.summary || "")];
  const list = (title, rows) => { if (rows.length) parts.push(make("h3", {}, title), make("dl", {}, ...rows)); };
  list("Parameters", (found.parameters || []).map((each) => row(`${each.name}: ${kind(each.schema)}`, each.description || "")));
  if (found.requestBody) list("Body", Object.entries(found.requestBody.content).map(([type, content]) =>
    row(type, content.schema.type === "object" ? "a form with a file" : "the bytes of an image file")));
  list("Answers", Object.entries(found.responses).map(([status, each]) => {
    const schema = each.content && each.content["application/json"] && each.content["application/json"].schema;
    return row(`${status}${schema && schema.$ref ? ` ${kind(schema)}` : ""}`, each.description);
  }));
  const shown = found.responses[200].content["application/json"].schema;
  const own = shown && shown.$ref && schemas[kind(shown)];
  if (own) list(kind(shown), Object.entries(own.properties).map(([name, schema]) =>
    row(name, [kind(schema), schema.description].filter(Boolean).join(": "))));
  return make("section", {}, ...parts);
}

async function show() {
  const api = await (await fetch("/openapi.json")).json();
  element("about").textContent = `${api.info.description} Version ${api.info.version}.`;
  element("example").textContent = `curl -F image=@rose.jpg ${location.origin}/api/predict`;
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, found] of Object.entries(methods)) {
      element("paths").append(describe(path, method, found, api.components.schemas));
    }
  }
}

show().catch((error) => { element("about").textContent = `openapi.json cannot be read: ${error.message}`; });
