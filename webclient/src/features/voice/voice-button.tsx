import { AudioLines } from "lucide-react";
import { useState } from "react";
import { useParams } from "react-router";
import { IconButton } from "@/components/ui/button";
import { useCapabilities } from "@/lib/capabilities";
import { VoiceDialog } from "./voice-dialog";

/** Begins a conversation by voice, where the server can listen and speak. */
export function VoiceButton() {
  const { voice } = useCapabilities();
  const { conversationId } = useParams();
  const [open, setOpen] = useState(false);
  if (!voice) return null;
  return (
    <>
      <IconButton label="Talk" onClick={() => setOpen(true)}>
        <AudioLines aria-hidden className="size-5" />
      </IconButton>
      {open && <VoiceDialog conversationId={conversationId} onClose={() => setOpen(false)} />}
    </>
  );
}
