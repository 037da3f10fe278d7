import { expect, it } from "vitest";
import { EventParser, readEvents } from "./sse";

it("joins pieces that were cut anywhere", () => {
  const parser = new EventParser();
  expect(parser.push("id: 4\nevent: job.pro")).toEqual([]);
  expect(parser.push('gress\ndata: {"a":1}\n')).toEqual([]);
  expect(parser.push("\ndata: x\ndata: y\n\n")).toEqual([
    { type: "job.progress", data: '{"a":1}', id: "4" },
    { type: "message", data: "x\ny", id: "4" },
  ]);
});

it("passes over comments and events without data", () => {
  expect(new EventParser().push(": still here\n\nevent: nothing\n\n")).toEqual([]);
});

it("reads carriage returns and split characters", async () => {
  const bytes = new TextEncoder().encode("data: é\r\n\r\n");
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const byte of bytes) controller.enqueue(new Uint8Array([byte]));
      controller.close();
    },
  });
  const events = [];
  for await (const event of readEvents(body)) events.push(event.data);
  expect(events).toEqual(["é"]);
});
