import { Check, Copy, X } from "lucide-react";
import { useCopy } from "@/lib/use-copy";
import { Button } from "./button";

const LOOK = {
  idle: { Icon: Copy, word: "Copy" },
  copied: { Icon: Check, word: "Copied" },
  failed: { Icon: X, word: "Not copied" },
} as const;

type CopyButtonProps = { text: string; what: string; variant?: "ghost" | "secondary" };

/** Copies `text`. `what` completes the button's name: "Copy code". */
export function CopyButton({ text, what, variant = "ghost" }: CopyButtonProps) {
  const [state, copy] = useCopy();
  const { Icon, word } = LOOK[state];
  return (
    <Button size="sm" variant={variant} onClick={() => copy(text)}>
      <Icon aria-hidden className="size-4" />
      <span aria-live="polite">
        {word}
        <span className="sr-only"> {what}</span>
      </span>
    </Button>
  );
}
