import { useMemo } from "react";
import { highlight } from "./highlight";

/** Loaded on first use: the grammars are the largest part of the client. */
export default function Highlighted({ code, language }: { code: string; language: string }) {
  return useMemo(() => highlight(code, language), [code, language]);
}
