import { Ellipsis, Pencil, Trash2 } from "lucide-react";
import { NavLink } from "react-router";
import type { Conversation } from "@/api/types";
import { IconButton } from "@/components/ui/button";
import { Menu, MenuItem } from "@/components/ui/menu";
import { cx } from "@/components/ui/cx";

type ConversationRowProps = {
  conversation: Conversation;
  onOpen: () => void;
  onRename: () => void;
  onDelete: () => void;
};

export function titleOf(conversation: Conversation): string {
  return conversation.title === "" ? "Untitled" : conversation.title;
}

export function ConversationRow({ conversation, onOpen, onRename, onDelete }: ConversationRowProps) {
  const title = titleOf(conversation);
  return (
    <li className="group relative">
      <NavLink
        to={`/c/${conversation.id}`}
        onClick={onOpen}
        className={({ isActive }) =>
          cx(
            "flex h-11 items-center rounded-xl pr-11 pl-3 text-[0.9375rem] sm:h-9 sm:text-sm",
            isActive ? "bg-accent-wash font-medium text-ink" : "text-ink-soft hover:bg-canvas hover:text-ink",
          )
        }
      >
        <span className="truncate">{title}</span>
      </NavLink>
      <div className="absolute inset-y-0 right-1 flex items-center sm:opacity-0 sm:group-focus-within:opacity-100 sm:group-hover:opacity-100 sm:has-data-[state=open]:opacity-100">
        <Menu
          trigger={
            <IconButton label={`Actions for ${title}`} size="iconSm">
              <Ellipsis aria-hidden className="size-4.5" />
            </IconButton>
          }
        >
          <MenuItem onSelect={onRename}>
            <Pencil aria-hidden className="size-4" /> Rename
          </MenuItem>
          <MenuItem onSelect={onDelete} danger>
            <Trash2 aria-hidden className="size-4" /> Delete
          </MenuItem>
        </Menu>
      </div>
    </li>
  );
}
