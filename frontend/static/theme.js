// The chosen theme, before the first paint; afterwards src/theme.rs takes over.
try {
  const theme = localStorage.getItem("nexplane.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // A browser that forbids storage shows the system's theme.
}
