// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
// Use the API through the client that is generated from its description: upload, download, save, list. Prints JSON.
import createClient from "openapi-fetch";
import type { paths } from "./schema.d.ts";

declare const process: { env: Record<string, string>; stdout: { write(text: string): void } };

const client = createClient<paths>({
  baseUrl: process.env.NOSLOP_URL,
  headers: { Authorization: `Bearer ${process.env.NOSLOP_TOKEN}` },
});
const path = { project_id: process.env.NOSLOP_PROJECT };

function must<T>(answer: { data?: T; error?: unknown }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

const image = Uint8Array.from(atob(process.env.NOSLOP_IMAGE), (letter) => letter.charCodeAt(0));
const file = must(
  await client.POST("/api/v1/projects/{project_id}/media", {
    params: { path, query: { name: "of typescript.png" } },
    body: { file: "" },
    bodySerializer: () => {
      const form = new FormData();
      form.append("file", new Blob([image]), "of typescript.png");
      return form;
    },
  }),
);
const content = must(
  await client.GET("/api/v1/projects/{project_id}/files/{file_id}/content", {
    params: { path: { ...path, file_id: file.id } },
    parseAs: "arrayBuffer",
  }),
);
const workflow = must(
  await client.POST("/api/v1/projects/{project_id}/workflows", {
    params: { path, query: { name: "of typescript", inputs: [file.id] } },
    body: { "1": { class_type: "LoadImage", inputs: { image: file.path } } },
  }),
);
const loaded = must(
  await client.GET("/api/v1/projects/{project_id}/workflows/content", {
    params: { path, query: { name: "of typescript" } },
  }),
);
const prompt = must(
  await client.POST("/api/v1/projects/{project_id}/prompts", {
    params: { path, query: { name: "of typescript" } },
    body: "a cat",
  }),
);
const files = must(await client.GET("/api/v1/projects/{project_id}/files", { params: { path } }));
const wrong = await client.GET("/api/v1/projects/{project_id}/files/{file_id}", {
  params: { path: { ...path, file_id: "0".repeat(13) } },
});
process.stdout.write(
  JSON.stringify({
    same: content.byteLength === image.byteLength,
    version: workflow.version,
    loaded,
    prompt: prompt.content_type,
    names: files.items.map((each) => each.name).sort(),
    code: wrong.error?.code,
  }),
);
