import { describe, expect, it } from "vitest";
import { parseServerMessage } from "./parse-message";

const envelope = (event: object) =>
  JSON.stringify({ type: "event", client_id: "c1", response_id: "resp_1", event });

describe("a message from the server", () => {
  it("gives a piece of text", () => {
    const text = envelope({ type: "response.output_text.delta", sequence_number: 4, delta: "hi" });
    expect(parseServerMessage(text)).toEqual({
      kind: "event",
      clientId: "c1",
      responseId: "resp_1",
      event: { kind: "delta", sequence: 4, text: "hi" },
    });
  });

  it("shows a picture that is being drawn", () => {
    const text = envelope({
      type: "response.image_generation_call.partial_image",
      sequence_number: 5,
      item_id: "call_1",
      output_index: 0,
      partial_image_index: 0,
      partial_image_b64: "AAAA",
      output_format: "webp",
    });
    expect(parseServerMessage(text)).toMatchObject({
      event: { kind: "preview", sequence: 5, preview: { itemId: "call_1", url: "data:image/webp;base64,AAAA" } },
    });
  });

  it("tells a stopped answer from one that ran out", () => {
    const stopped = envelope({
      type: "response.incomplete",
      sequence_number: 9,
      response: { status: "cancelled", output: [] },
    });
    const short = envelope({
      type: "response.incomplete",
      sequence_number: 9,
      response: { status: "incomplete", incomplete_details: { reason: "max_output_tokens" } },
    });
    expect(parseServerMessage(stopped)).toMatchObject({ event: { outcome: { status: "cancelled" } } });
    expect(parseServerMessage(short)).toMatchObject({
      event: { outcome: { status: "incomplete", reason: "max_output_tokens" } },
    });
  });

  it("reads a failure's code and sentence", () => {
    const failed = envelope({
      type: "response.failed",
      sequence_number: 3,
      response: { status: "failed", error: { code: "node_timeout", message: "too slow" } },
    });
    expect(parseServerMessage(failed)).toMatchObject({
      event: { outcome: { status: "failed", problem: { code: "node_timeout", message: "too slow" } } },
    });
  });

  it("joins the whole text of the output", () => {
    const done = envelope({
      type: "response.completed",
      sequence_number: 7,
      response: {
        status: "completed",
        output: [{ type: "message", content: [{ type: "output_text", text: "Hello" }] }],
        usage: { input_tokens: 3, output_tokens: 1 },
      },
    });
    expect(parseServerMessage(done)).toMatchObject({
      event: { text: "Hello", usage: { input_tokens: 3, output_tokens: 1 } },
    });
  });

  it("tells the place in line", () => {
    const stage = { type: "polymodal.stage", stage: "queued", sequence_number: 1, place: 3, eta_s: 12.5 };
    expect(parseServerMessage(envelope(stage))).toMatchObject({
      event: { kind: "queued", sequence: 1, place: 3, etaS: 12.5 },
    });
    expect(parseServerMessage(envelope({ ...stage, eta_s: null }))).toMatchObject({
      event: { place: 3, etaS: null },
    });
    expect(parseServerMessage(envelope({ ...stage, place: null }))).toBeNull();
  });

  it("counts events it does not know, so that no gap appears", () => {
    const text = envelope({ type: "response.brand_new", sequence_number: 2 });
    expect(parseServerMessage(text)).toMatchObject({ event: { kind: "other", sequence: 2 } });
  });

  it.each(["", "nonsense", "[]", '{"type":"later"}', '{"type":"event","event":{}}'])(
    "is left aside when it makes no sense: %s",
    (text) => {
      expect(parseServerMessage(text)).toBeNull();
    },
  );
});
