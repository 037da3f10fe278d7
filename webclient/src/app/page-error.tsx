import { useRouteError } from "react-router";
import { Button } from "@/components/ui/button";

/** The last resort: something in the page itself broke. */
export function PageError() {
  const error = useRouteError();
  return (
    <main className="grid min-h-dvh place-items-center p-6">
      <div role="alert" className="max-w-md">
        <h1 className="text-3xl font-semibold">This page broke</h1>
        <p className="mt-2 mb-6 text-ink-soft">
          Your conversations are safe on the server. Reload the page; if it happens again, tell an
          administrator what you were doing.
        </p>
        {error instanceof Error && <p className="mb-6 font-mono text-sm text-ink-faint">{error.message}</p>}
        <Button variant="primary" onClick={() => window.location.reload()}>
          Reload
        </Button>
      </div>
    </main>
  );
}
