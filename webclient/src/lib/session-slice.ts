import { createSlice, type PayloadAction } from "@reduxjs/toolkit";
import type { Session, User } from "@/api/types";

export type SessionState =
  | { status: "unknown" }
  | { status: "anonymous"; lost: boolean }
  | { status: "signedIn"; user: User; csrfToken: string };

/** Who is signed in. It lives in lib because every request needs its CSRF token. */
export const sessionSlice = createSlice({
  name: "session",
  initialState: (): SessionState => ({ status: "unknown" }),
  reducers: {
    signedIn: (_state, { payload }: PayloadAction<Session>): SessionState => ({
      status: "signedIn",
      user: payload.user,
      csrfToken: payload.csrf_token,
    }),
    /** The server no longer knows us. `lost` is true when we had been signed in. */
    sessionEnded: (state): SessionState => ({
      status: "anonymous",
      lost: state.status === "signedIn",
    }),
    signedOut: (): SessionState => ({ status: "anonymous", lost: false }),
  },
  selectors: {
    selectSession: (state) => state,
    selectCsrfToken: (state) => (state.status === "signedIn" ? state.csrfToken : null),
  },
});

export const { sessionEnded, signedIn, signedOut } = sessionSlice.actions;
export const { selectCsrfToken, selectSession } = sessionSlice.selectors;
