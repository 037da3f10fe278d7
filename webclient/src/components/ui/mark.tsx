/** The sign of Polymodal: something seen, something heard. */
export function Mark({ className }: { className?: string }) {
  return (
    <svg viewBox="0 0 32 32" aria-hidden className={className}>
      <rect width="32" height="32" rx="9" className="fill-accent" />
      <circle cx="10.2" cy="16" r="4.6" className="fill-accent-ink" />
      <g className="stroke-accent-ink" strokeWidth="3" strokeLinecap="round">
        <path d="M18.6 10v12" />
        <path d="M24.4 13.6v4.8" />
      </g>
    </svg>
  );
}
