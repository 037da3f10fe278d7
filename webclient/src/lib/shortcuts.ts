import { useEffect, useEffectEvent } from "react";

/** Every shortcut uses a modifier, so that speech input never triggers one (WCAG 2.1.4). */
export const SHORTCUTS = {
  newConversation: { keys: ["Mod", "Shift", "O"], does: "Start a new conversation" },
  toggleSidebar: { keys: ["Mod", "B"], does: "Show or hide the conversations" },
  focusComposer: { keys: ["Shift", "Esc"], does: "Go to the message box" },
  stop: { keys: ["Mod", "."], does: "Stop the answer being written" },
  help: { keys: ["Mod", "/"], does: "Show these shortcuts" },
} as const;

export type ShortcutName = keyof typeof SHORTCUTS;

export const IS_APPLE = /Mac|iPhone|iPad/.test(navigator.userAgent);

function matches(event: KeyboardEvent, name: ShortcutName): boolean {
  const keys: readonly string[] = SHORTCUTS[name].keys;
  const key = keys.at(-1) === "Esc" ? "escape" : keys.at(-1)?.toLowerCase();
  const mod = IS_APPLE ? event.metaKey : event.ctrlKey;
  return (
    event.key.toLowerCase() === key &&
    mod === keys.includes("Mod") &&
    event.shiftKey === keys.includes("Shift") &&
    !event.altKey
  );
}

/** Runs `action` when the shortcut is pressed anywhere on the page. */
export function useShortcut(name: ShortcutName, action: () => void): void {
  const onKeyDown = useEffectEvent((event: KeyboardEvent) => {
    if (event.defaultPrevented || !matches(event, name)) return;
    event.preventDefault();
    action();
  });
  useEffect(() => {
    const listener = (event: KeyboardEvent) => onKeyDown(event);
    window.addEventListener("keydown", listener);
    return () => window.removeEventListener("keydown", listener);
  }, []);
}
