import { useSelector } from "react-redux";
import { Navigate, useLocation } from "react-router";
import { SignInPage } from "@/features/session/sign-in-page";
import { isRecord } from "@/lib/problem";
import { selectSession, type SessionState } from "@/lib/session-slice";

/** The sign-in page; once signed in, back to where one was going. */
export function SignInRoute() {
  const session = useSelector((root: { session: SessionState }) => selectSession(root));
  const state: unknown = useLocation().state;
  const from = isRecord(state) && typeof state.from === "string" ? state.from : "/";
  return session.status === "signedIn" ? <Navigate to={from} replace /> : <SignInPage />;
}
