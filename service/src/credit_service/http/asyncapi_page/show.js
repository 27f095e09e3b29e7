// Shows /asyncapi.json. The component has no parser in it, since that one needs eval: what a parser does for it is here.
"use strict";

function resolved(document) {
  const at = new Map();
  function lookUp(reference) {
    return reference.slice(2).split("/").reduce((part, name) => part[name.replace(/~1/g, "/").replace(/~0/g, "~")], document);
  }
  function resolve(part) {
    if (part === null || typeof part !== "object") return part;
    if (typeof part.$ref === "string") return resolve(lookUp(part.$ref));
    if (at.has(part)) return at.get(part);
    const whole = Array.isArray(part) ? [] : {};
    at.set(part, whole);
    for (const [name, value] of Object.entries(part)) whole[name] = resolve(value);
    return whole;
  }
  return resolve(document);
}

function named(parts, mark) {
  for (const [name, part] of Object.entries(parts ?? {})) part[mark] = name;
}

async function show() {
  const place = document.getElementById("asyncapi");
  try {
    const answer = await fetch("asyncapi.json");
    if (!answer.ok) throw new Error(`asyncapi.json: ${answer.status}`);
    const schema = resolved(await answer.json());
    named(schema.channels, "x-parser-unique-object-id");
    named(schema.operations, "x-parser-unique-object-id");
    named(schema.components.messages, "x-parser-message-name");
    named(schema.components.schemas, "x-parser-schema-id");
    schema["x-parser-spec-parsed"] = true;
    schema["x-parser-api-version"] = 3;
    AsyncApiStandalone.render({ schema, config: { show: { sidebar: true, errors: false }, expand: { messageExamples: true } } }, place);
  } catch (error) {
    place.textContent = `The document could not be shown: ${error.message}`;
  }
}

show();
