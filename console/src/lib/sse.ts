// Server-sent events read by `fetch`, so that the token is in a header and not in the address.

import { send } from "./api";

export interface ServerEvent {
  event: string;
  id: string;
  data: string;
}

/** Reads an event stream until it ends, fails or is aborted. */
export async function* serverEvents(path: string, signal: AbortSignal): AsyncGenerator<ServerEvent> {
  const response = await send(path, { headers: { Accept: "text/event-stream" }, signal });
  if (!response.ok || response.body === null) throw new Error(`the stream was refused: ${response.status}`);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop()!;
    for (const block of blocks) {
      const event = { event: "message", id: "", data: "" };
      for (const line of block.split("\n")) {
        const colon = line.indexOf(":");
        if (colon < 1) continue;
        const text = line.slice(colon + 1).replace(/^ /, "");
        const field = line.slice(0, colon);
        if (field === "data") event.data += (event.data === "" ? "" : "\n") + text;
        else if (field === "event") event.event = text;
        else if (field === "id") event.id = text;
      }
      if (event.data !== "") yield event;
    }
  }
}
