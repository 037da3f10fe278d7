import { ChevronsUpDown, KeyRound, Keyboard, LogOut, Monitor, Moon, Sun } from "lucide-react";
import { useNavigate } from "react-router";
import type { User } from "@/api/types";
import { Menu, MenuChoice, MenuItem, MenuLabel, MenuSeparator } from "@/components/ui/menu";
import type { ThemeChoice } from "@/lib/theme";

const THEMES = [
  { value: "system", label: "Like the system", icon: <Monitor aria-hidden className="size-4" /> },
  { value: "light", label: "Light", icon: <Sun aria-hidden className="size-4" /> },
  { value: "dark", label: "Dark", icon: <Moon aria-hidden className="size-4" /> },
] as const;

type AccountMenuProps = {
  user: User;
  theme: ThemeChoice;
  onTheme: (theme: ThemeChoice) => void;
  onShortcuts: () => void;
  onSignOut: () => void;
  onNavigate: () => void;
};

export function AccountMenu({ user, theme, onTheme, onShortcuts, onSignOut, onNavigate }: AccountMenuProps) {
  const navigate = useNavigate();
  const name = user.name === "" ? user.email : user.name;
  const openKeys = () => {
    onNavigate();
    void navigate("/keys");
  };
  return (
    <Menu
      trigger={
        <button
          type="button"
          className="flex w-full items-center gap-3 rounded-xl px-2.5 py-2 text-left hover:bg-canvas data-[state=open]:bg-canvas"
        >
          <span aria-hidden className="grid size-8 shrink-0 place-items-center rounded-full bg-accent text-sm font-semibold text-accent-ink">
            {name.slice(0, 1).toUpperCase()}
          </span>
          <span className="min-w-0 flex-1">
            <span className="block truncate text-sm font-medium">{name}</span>
            <span className="sr-only">: account, theme and keys</span>
          </span>
          <ChevronsUpDown aria-hidden className="size-4 text-ink-faint" />
        </button>
      }
    >
      <MenuLabel>{user.email}</MenuLabel>
      <MenuItem onSelect={openKeys}>
        <KeyRound aria-hidden className="size-4" /> API keys
      </MenuItem>
      <MenuItem onSelect={onShortcuts}>
        <Keyboard aria-hidden className="size-4" /> Keyboard shortcuts
      </MenuItem>
      <MenuSeparator />
      <MenuLabel>Theme</MenuLabel>
      <MenuChoice value={theme} options={THEMES} onChange={onTheme} />
      <MenuSeparator />
      <MenuItem onSelect={onSignOut}>
        <LogOut aria-hidden className="size-4" /> Sign out
      </MenuItem>
    </Menu>
  );
}
