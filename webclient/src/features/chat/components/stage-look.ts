import {
  BookOpenText,
  Clapperboard,
  Ear,
  Eye,
  HardDriveUpload,
  Paintbrush,
  PenLine,
  Search,
  Speech,
  type LucideIcon,
} from "lucide-react";
import type { Span, StageName } from "@/api/types";

/** Each sense has one icon and one hue, in the stage line and in the trace alike. */
export const STAGE_LOOK: Record<StageName, { Icon: LucideIcon; text: string; bar: string }> = {
  storing: { Icon: HardDriveUpload, text: "text-ink-faint", bar: "bg-ink-faint" },
  listening: { Icon: Ear, text: "text-hear", bar: "bg-hear" },
  looking: { Icon: Eye, text: "text-see", bar: "bg-see" },
  watching: { Icon: Clapperboard, text: "text-see", bar: "bg-see" },
  reading: { Icon: BookOpenText, text: "text-read", bar: "bg-read" },
  searching: { Icon: Search, text: "text-read", bar: "bg-read" },
  writing: { Icon: PenLine, text: "text-write", bar: "bg-write" },
  drawing: { Icon: Paintbrush, text: "text-see", bar: "bg-see" },
  speaking: { Icon: Speech, text: "text-hear", bar: "bg-hear" },
};

/** The sense a span of the trace belongs to, told from its names. */
export function stageOfSpan({ name, node }: Span): StageName {
  const words = `${name} ${node}`.toLowerCase();
  if (/videoencod|watch/.test(words)) return "watching";
  if (/imagegenerat|videogenerat|draw|paint|film/.test(words)) return "drawing";
  if (/speechgenerat|speak|voice/.test(words)) return "speaking";
  if (words.includes("document")) return "reading";
  if (/audio|listen|speech|transcri|whisper|vad/.test(words)) return "listening";
  if (/image|look|vision|detect|ocr|picture/.test(words)) return "looking";
  if (/generat|writ|decode|token/.test(words)) return "writing";
  if (/text|embed|read|assembl|retriev|prompt/.test(words)) return "reading";
  return "storing";
}
