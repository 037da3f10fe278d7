import { Dialog } from "@/components/ui/dialog";
import { IS_APPLE, SHORTCUTS } from "@/lib/shortcuts";

const IN_THE_BOX = [
  { keys: ["Enter"], does: "Send the message" },
  { keys: ["Shift", "Enter"], does: "Start a new line" },
  { keys: ["Mod", "V"], does: "Paste a picture or a recording" },
] as const;

type ShortcutsDialogProps = { open: boolean; onOpenChange: (open: boolean) => void };

export function ShortcutsDialog(props: ShortcutsDialogProps) {
  return (
    <Dialog {...props} title="Keyboard shortcuts" description="Everything here can be done without a mouse.">
      <dl className="divide-y divide-line">
        {[...Object.values(SHORTCUTS), ...IN_THE_BOX].map(({ keys, does }) => (
          <div key={does} className="flex items-center justify-between gap-4 py-2.5">
            <dt className="text-[0.9375rem]">{does}</dt>
            <dd className="flex gap-1">
              {keys.map((key) => (
                <kbd key={key} className="rounded-md border border-line bg-sunken px-2 py-0.5 font-mono text-xs">
                  {key === "Mod" ? (IS_APPLE ? "⌘" : "Ctrl") : key}
                </kbd>
              ))}
            </dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
