import { Camera, Paintbrush, Paperclip, Plus, ScreenShare, Speech, type LucideIcon } from "lucide-react";
import { useRef } from "react";
import type { AssetKind } from "@/api/types";
import { IconButton } from "@/components/ui/button";
import { Menu, MenuItem, MenuSeparator } from "@/components/ui/menu";
import type { Wish } from "../made";
import { acceptFor, listInWords } from "../compose/attachments-reducer";

type AttachMenuProps = {
  kinds: readonly AssetKind[];
  onFiles: (files: Iterable<File>) => void;
  onCamera: () => void;
  onScreen: () => void;
  /** What the answer can be besides text. */
  wishes: readonly Wish[];
  onWish: (wish: Wish) => void;
};

export const WISH_NAMES: Record<Wish, string> = { picture: "Draw a picture", speech: "Answer aloud" };
const WISH_ICONS: Record<Wish, LucideIcon> = { picture: Paintbrush, speech: Speech };

const WORDS: Record<AssetKind, string> = {
  image: "pictures",
  audio: "sound",
  video: "video",
  document: "PDF",
};

/** All that can be added to a message. */
export function AttachMenu({ kinds, onFiles, onCamera, onScreen, wishes, onWish }: AttachMenuProps) {
  const picker = useRef<HTMLInputElement>(null);
  const canSee = kinds.includes("image");
  return (
    <>
      <input
        ref={picker}
        type="file"
        accept={acceptFor(kinds)}
        multiple
        hidden
        aria-label="Files to attach"
        onChange={({ target }) => {
          onFiles([...(target.files ?? [])]);
          target.value = "";
        }}
      />
      <Menu
        trigger={
          <IconButton label="Add to the message">
            <Plus aria-hidden className="size-5" />
          </IconButton>
        }
      >
        <MenuItem onSelect={() => picker.current?.click()}>
          <Paperclip aria-hidden className="size-4" /> Files: {listInWords(kinds.map((kind) => WORDS[kind]))}
        </MenuItem>
        {canSee && (
          <MenuItem onSelect={onCamera}>
            <Camera aria-hidden className="size-4" /> Camera
          </MenuItem>
        )}
        {canSee && (
          <MenuItem onSelect={onScreen}>
            <ScreenShare aria-hidden className="size-4" /> Capture the screen
          </MenuItem>
        )}
        {wishes.length > 0 && <MenuSeparator />}
        {wishes.map((wish) => {
          const Icon = WISH_ICONS[wish];
          return (
            <MenuItem key={wish} onSelect={() => onWish(wish)}>
              <Icon aria-hidden className="size-4" /> {WISH_NAMES[wish]}
            </MenuItem>
          );
        })}
      </Menu>
    </>
  );
}
