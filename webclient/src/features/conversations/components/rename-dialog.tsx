import { useState, type SyntheticEvent } from "react";
import type { Conversation } from "@/api/types";
import { Button } from "@/components/ui/button";
import { Dialog } from "@/components/ui/dialog";
import { TextField } from "@/components/ui/text-field";

type RenameDialogProps = {
  conversation: Conversation;
  onClose: () => void;
  onRename: (title: string) => void;
};

export function RenameDialog({ conversation, onClose, onRename }: RenameDialogProps) {
  const [title, setTitle] = useState(conversation.title);
  const submit = (event: SyntheticEvent) => {
    event.preventDefault();
    onRename(title.trim());
  };
  return (
    <Dialog
      open
      onOpenChange={(open) => {
        if (!open) onClose();
      }}
      title="Rename conversation"
      description="Only you see this name."
    >
      <form onSubmit={submit} className="space-y-5">
        <TextField
          label="Name"
          value={title}
          maxLength={200}
          required
          onChange={(event) => setTitle(event.target.value)}
        />
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" variant="primary" disabled={title.trim() === ""}>
            Rename
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
