import { useEffect, useState } from "react";

export type ThemeChoice = "system" | "light" | "dark";

/** Also read by public/theme.js, before the first paint. */
const STORAGE_KEY = "polymodal.theme";
const PREFERS_DARK = "(prefers-color-scheme: dark)";

function storedChoice(): ThemeChoice {
  try {
    const value = localStorage.getItem(STORAGE_KEY);
    return value === "light" || value === "dark" ? value : "system";
  } catch {
    return "system";
  }
}

function store(choice: ThemeChoice): void {
  try {
    if (choice === "system") localStorage.removeItem(STORAGE_KEY);
    else localStorage.setItem(STORAGE_KEY, choice);
  } catch {
    // Storage is blocked: the choice then lasts until the page is left.
  }
}

/** The chosen theme; keeps the document in step with it and with the system. */
export function useTheme(): [ThemeChoice, (choice: ThemeChoice) => void] {
  const [choice, setChoice] = useState(storedChoice);
  useEffect(() => {
    const system = matchMedia(PREFERS_DARK);
    const apply = () => {
      const dark = choice === "dark" || (choice === "system" && system.matches);
      document.documentElement.dataset.theme = dark ? "dark" : "light";
    };
    store(choice);
    apply();
    system.addEventListener("change", apply);
    return () => system.removeEventListener("change", apply);
  }, [choice]);
  return [choice, setChoice];
}
