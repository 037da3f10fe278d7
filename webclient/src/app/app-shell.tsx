import { Menu as MenuIcon, Palette, PanelLeft, SquarePen } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { useSelector } from "react-redux";
import { Link, Outlet, useLocation, useNavigate } from "react-router";
import { Button, IconButton } from "@/components/ui/button";
import { Mark } from "@/components/ui/mark";
import { LiveAnswersProvider } from "@/features/chat/stream/live-answers-provider";
import { ConversationList } from "@/features/conversations/conversation-list";
import { JobsButton } from "@/features/jobs/jobs-button";
import { useSignOutMutation } from "@/features/session/api/session-api";
import { selectSession, type SessionState } from "@/lib/session-slice";
import { useShortcut } from "@/lib/shortcuts";
import { useTheme, type ThemeChoice } from "@/lib/theme";
import { AccountMenu } from "./account-menu";
import { Drawer } from "./drawer";
import { ShortcutsDialog } from "./shortcuts-dialog";

const WIDE = "(min-width: 64rem)";

/** The frame around every page of somebody signed in. */
export function AppShell() {
  const [sidebarOpen, setSidebarOpen] = useState(true);
  const [drawerOpen, setDrawerOpen] = useState(false);
  const [shortcutsOpen, setShortcutsOpen] = useState(false);
  const [theme, setTheme] = useTheme();
  const navigate = useNavigate();
  const main = useFocusOnNavigation();

  const startNew = () => {
    setDrawerOpen(false);
    void navigate("/");
  };
  const toggleSidebar = () => {
    if (matchMedia(WIDE).matches) setSidebarOpen(!sidebarOpen);
    else setDrawerOpen(!drawerOpen);
  };
  useShortcut("newConversation", startNew);
  useShortcut("toggleSidebar", toggleSidebar);
  useShortcut("help", () => setShortcutsOpen(true));

  const sidebar = (
    <Sidebar
      theme={theme}
      onTheme={setTheme}
      onNew={startNew}
      onNavigate={() => setDrawerOpen(false)}
      onShortcuts={() => setShortcutsOpen(true)}
      onHide={toggleSidebar}
    />
  );
  return (
    <LiveAnswersProvider>
      <a
        href="#main"
        className="fixed top-2 left-2 z-50 -translate-y-20 rounded-xl bg-accent px-4 py-2.5 font-medium text-accent-ink focus:translate-y-0"
      >
        Skip to the conversation
      </a>
      <div className="flex h-dvh">
        {sidebarOpen && (
          <aside
            aria-label="Conversations and account"
            className="w-72 shrink-0 border-r border-line bg-sunken max-lg:hidden"
          >
            {sidebar}
          </aside>
        )}
        <Drawer open={drawerOpen} onOpenChange={setDrawerOpen}>
          {sidebar}
        </Drawer>
        <div className="relative flex min-w-0 flex-1 flex-col">
          <header className="flex h-14 items-center gap-2 border-b border-line px-2 lg:hidden">
            <IconButton label="Open the conversations" onClick={toggleSidebar}>
              <MenuIcon aria-hidden className="size-5" />
            </IconButton>
            <p className="flex flex-1 items-center justify-center gap-2 font-semibold">
              <Mark className="size-6" /> Polymodal
            </p>
            <IconButton label="New conversation" onClick={startNew}>
              <SquarePen aria-hidden className="size-5" />
            </IconButton>
          </header>
          {!sidebarOpen && (
            <div className="absolute top-3 left-3 z-20 max-lg:hidden">
              <IconButton label="Show the conversations" onClick={toggleSidebar}>
                <PanelLeft aria-hidden className="size-5" />
              </IconButton>
            </div>
          )}
          <main ref={main} id="main" tabIndex={-1} className="min-h-0 flex-1 outline-none">
            <Outlet />
          </main>
        </div>
      </div>
      <ShortcutsDialog open={shortcutsOpen} onOpenChange={setShortcutsOpen} />
    </LiveAnswersProvider>
  );
}

type SidebarProps = {
  theme: ThemeChoice;
  onTheme: (theme: ThemeChoice) => void;
  onNew: () => void;
  onNavigate: () => void;
  onShortcuts: () => void;
  onHide: () => void;
};

function Sidebar({ theme, onTheme, onNew, onNavigate, onShortcuts, onHide }: SidebarProps) {
  const session = useSelector((root: { session: SessionState }) => selectSession(root));
  const [signOut] = useSignOutMutation();
  return (
    <div className="flex h-full flex-col">
      <div className="flex items-center justify-between px-4 pt-4 pb-3">
        <Link to="/" onClick={onNavigate} className="flex items-center gap-2.5 rounded-lg text-lg font-semibold">
          <Mark className="size-7" /> Polymodal
        </Link>
        <IconButton label="Hide the conversations" size="iconSm" onClick={onHide}>
          <PanelLeft aria-hidden className="size-4.5" />
        </IconButton>
      </div>
      <div className="px-3 pb-4">
        <Button onClick={onNew} className="w-full justify-start px-3">
          <SquarePen aria-hidden className="size-4.5 text-accent" /> New conversation
        </Button>
        <Button asChild variant="ghost" className="mt-1 w-full justify-start px-3">
          <Link to="/studio" onClick={onNavigate}>
            <Palette aria-hidden className="size-4.5 text-see" /> Studio
          </Link>
        </Button>
        <JobsButton />
      </div>
      <div className="min-h-0 flex-1 overflow-y-auto px-3 pb-4">
        <ConversationList onOpen={onNavigate} />
      </div>
      {session.status === "signedIn" && (
        <div className="border-t border-line p-2">
          <AccountMenu
            user={session.user}
            theme={theme}
            onTheme={onTheme}
            onShortcuts={onShortcuts}
            onSignOut={() => void signOut()}
            onNavigate={onNavigate}
          />
        </div>
      )}
    </div>
  );
}

/** Moves the focus to the page after a navigation, as a full page load would. */
function useFocusOnNavigation() {
  const main = useRef<HTMLElement>(null);
  const { pathname } = useLocation();
  const previous = useRef(pathname);
  useEffect(() => {
    if (previous.current === pathname) return;
    previous.current = pathname;
    // A page that has its own place to begin, such as the message box, has taken the focus already.
    if (main.current?.contains(document.activeElement) !== true) main.current?.focus();
  }, [pathname]);
  return main;
}
