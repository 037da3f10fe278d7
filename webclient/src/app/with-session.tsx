import type { ReactNode } from "react";
import { useSelector } from "react-redux";
import { Navigate, useLocation } from "react-router";
import { Button } from "@/components/ui/button";
import { ProblemNote } from "@/components/ui/problem-note";
import { Spinner } from "@/components/ui/spinner";
import { useGetSessionQuery } from "@/features/session/api/session-api";
import { asProblem } from "@/lib/problem";
import { selectSession, type SessionState } from "@/lib/session-slice";

/** Shows its children to somebody signed in, and the sign-in page to everybody else. */
export function WithSession({ children }: { children: ReactNode }) {
  const session = useSelector((root: { session: SessionState }) => selectSession(root));
  const location = useLocation();
  const check = useGetSessionQuery(undefined, { skip: session.status !== "unknown" });
  switch (session.status) {
    case "signedIn":
      return children;
    case "anonymous":
      return <Navigate to="/sign-in" replace state={{ from: location.pathname }} />;
    case "unknown": {
      const problem = check.error === undefined ? null : asProblem(check.error);
      return (
        <main className="grid min-h-dvh place-items-center p-6">
          {problem === null ? (
            <Spinner label="Opening Polymodal" />
          ) : (
            <ProblemNote problem={problem}>
              <Button size="sm" onClick={() => void check.refetch()}>
                Try again
              </Button>
            </ProblemNote>
          )}
        </main>
      );
    }
  }
}
