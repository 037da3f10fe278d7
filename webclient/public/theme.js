// Runs before the first paint, so that a dark page never flashes white. An external file
// because the content security policy forbids inline scripts.
(function () {
  var choice = null;
  try {
    choice = localStorage.getItem("polymodal.theme");
  } catch {
    // Storage may be blocked; the system's theme is then used.
  }
  var dark =
    choice === "dark" ||
    (choice !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
