import type { Connection } from "../chat-slice";

/** Says that the connection is away; answers are still written on the server meanwhile. */
export function ConnectionNote({ connection }: { connection: Connection }) {
  return (
    <div role="status" className="empty:hidden">
      {connection === "away" && (
        <p className="mb-2 flex items-center gap-2.5 px-2 text-sm text-ink-soft">
          <span aria-hidden className="animate-breathe size-2 rounded-full bg-hear" />
          Reconnecting. Nothing is lost.
        </p>
      )}
    </div>
  );
}
