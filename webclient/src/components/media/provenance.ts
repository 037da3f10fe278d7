import type { Provenance } from "@/api/types";

export type Verdict = { kind: "ours" | "valid" | "changed" | "unsigned"; title: string; meaning: string };

/** What to think of a file, in words that promise no more than was checked. */
export function verdictOn({ signed, valid, signed_by_us, issuer }: Provenance): Verdict {
  if (!signed) {
    return {
      kind: "unsigned",
      title: "No statement in this file",
      meaning: "Nothing says how it was made. That proves nothing either way: statements are easily removed.",
    };
  }
  if (!valid) {
    return {
      kind: "changed",
      title: "The statement does not hold",
      meaning: "The file or its statement was changed after it was signed.",
    };
  }
  return signed_by_us
    ? { kind: "ours", title: "Made here, unchanged", meaning: "This installation made and signed it, and nothing was changed since." }
    : {
        kind: "valid",
        title: "Signed, unchanged",
        meaning: `It is as ${issuer === "" ? "its signer" : issuer} signed it. Whether to believe the signer is up to you.`,
      };
}
