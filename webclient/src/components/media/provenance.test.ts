import { expect, it } from "vitest";
import { verdictOn } from "./provenance";

const report = {
  signed: true,
  valid: true,
  signed_by_us: false,
  issuer: "Acme",
  claim_generator: "",
  title: "",
  actions: [],
  ingredients: [],
  problems: [],
};

it("promises no more than was checked", () => {
  expect(verdictOn({ ...report, signed: false }).kind).toBe("unsigned");
  expect(verdictOn({ ...report, valid: false, signed_by_us: true }).kind).toBe("changed");
  expect(verdictOn({ ...report, signed_by_us: true }).kind).toBe("ours");
  expect(verdictOn(report).meaning).toContain("as Acme signed it");
});
