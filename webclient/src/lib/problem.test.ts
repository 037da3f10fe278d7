import { describe, expect, it } from "vitest";
import { adviceFor, problemFromHttp } from "./problem";

const headers = (known: Record<string, string>) => (name: string) => known[name] ?? null;

describe("a failed exchange", () => {
  it("is known by the envelope's code", () => {
    const body = { error: { message: "at most 25 MB", type: "x", param: "file", code: "media_too_large" } };
    const problem = problemFromHttp(413, body, headers({ "x-request-id": "req_1" }));
    expect(problem).toMatchObject({ code: "media_too_large", message: "at most 25 MB", requestId: "req_1" });
    expect(adviceFor(problem).action).toContain("smaller picture");
  });

  it("is known by its status when a proxy answered instead", () => {
    expect(problemFromHttp(503, "<html>", headers({})).code).toBe("engine_unavailable");
  });

  it("says how long to wait", () => {
    const problem = problemFromHttp(429, null, headers({ "retry-after": "7" }));
    expect(adviceFor(problem).action).toBe("Wait 7 s, then try again.");
  });

  it("has words even for a code nobody has heard of", () => {
    const body = { error: { message: "hm", code: "strange" } };
    expect(adviceFor(problemFromHttp(400, body, headers({}))).title).not.toBe("");
  });
});
